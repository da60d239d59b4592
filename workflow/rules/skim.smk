"""Skim: one unit of work. Needs the engine and the plan, makes selected events and a ledger."""


rule skim:
    input:
        engine=ancient("<results>/{analysis}/engine"),
        plan=ancient("<results>/{analysis}/plan.json"),
        # Where the lake has the files may change at any time, and changes no number.
        replicas=ancient("<results>/{analysis}/replicas.json"),
    output:
        events="<results>/{analysis}/units/{sample}/{unit}.root",
        ledger="<results>/{analysis}/units/{sample}/{unit}.json",
    log:
        "logs/skim/{analysis}/{sample}/{unit}.log",
    conda:
        "../../envs/conda.yaml"
    threads: 1
    resources:
        mem="1GB",
    params:
        key=unit_key,
        graph=graph("skim"),
        verify=config["verify"],
        accelerator=config["accelerator"],
        scratch=config["scratch"],
    script:
        "../scripts/skim.py"
