"""Skim: units of work. Needs the engine and the plan, makes selected events and ledgers.

A job is one unit, or, where `pack` of the configuration says so, a pack of units side by side.
"""


rule skim:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        # Where the files are may change at any time, and changes no number.
        replicas=ancient(REPLICAS),
    output:
        events="<results>/{analysis}/units/{sample}/{unit}.root",
        ledger="<results>/{analysis}/units/{sample}/{unit}.json",
    log:
        "logs/skim/{analysis}/{sample}/{unit}.log",
    conda:
        "../../envs/conda.yaml"
    threads: 1
    resources:
        **({"tmpdir": config["scratch"]} if config["scratch"] else {}),
        # Not among the params: another scratch folder changes no number and re-runs nothing.
        **needs(mem_mb=1000, disk_mb=scratch_mb),
        **travels("logs/skim/{analysis}/{sample}/{unit}.log"),
        runtime=job_minutes,
    params:
        key=job_keys,
        graph=graph("skim"),
        verify=config["verify"],
        accelerator=config["accelerator"],
    script:
        "../scripts/skim.py"


# Its units are not outputs: those that are made stay when another one fails.
rule skim_pack:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        replicas=ancient(REPLICAS),
    output:
        "<results>/{analysis}/packs/{pack}.json",
    log:
        "logs/skim/{analysis}/pack-{pack}.log",
    conda:
        "../../envs/conda.yaml"
    # More by the profile (set-threads): so many units run side by side.
    threads: 1
    resources:
        **({"tmpdir": config["scratch"]} if config["scratch"] else {}),
        **travels("logs/skim/{analysis}/pack-{pack}.log", pack_files, units_folder),
        mem_mb=pack_memory,
        disk_mb=scratch_mb,
        htcondor_request_mem_mb=pack_job_memory,
        htcondor_request_disk_mb=scratch_mb,
        mem_mb_per_cpu=pack_core_memory,
        runtime=job_minutes,
    params:
        key=job_keys,
        units=units_folder,
        graph=graph("skim"),
        verify=config["verify"],
        accelerator=config["accelerator"],
    script:
        "../scripts/skim_pack.py"
