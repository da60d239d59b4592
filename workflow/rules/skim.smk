"""Skim: one unit of work. Needs the engine and the plan, makes selected events and a ledger."""


rule skim:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        # Where the lake has the files may change at any time, and changes no number.
        replicas=ancient("<results>/{analysis}/replicas.json"),
        preflight=ancient("<results>/{analysis}/preflight.json") if CLOSED else [],
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
    params:
        key=unit_key,
        graph=graph("skim"),
        verify=config["verify"],
        accelerator=config["accelerator"],
    script:
        "../scripts/skim.py"
