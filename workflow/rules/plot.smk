"""Plots: one job an analysis draws all of them. Needs its histograms and the luminosities."""

for analysis in config["analyses"]:

    rule:
        name:
            f"plot_{analysis}"
        input:
            histograms=f"<results>/{analysis}/histograms.root",
            catalogue=f"<results>/{analysis}/catalogue.json",
            # Behind the checkpoint: else an old histogram is drawn while it is filled anew.
            plan=ancient(f"<results>/{analysis}/plan.json"),
            style=workflow.source_path("../../src/nanolake/plotting.py"),
        output:
            png=[
                report(
                    f"<results>/{analysis}/plots/{plot}.png",
                    caption=f"../report/{analysis}.rst",
                    category=analysis,
                    labels={"what": plot},
                )
                for plot in analyses.load(analysis).figure_names()
            ],
            pdf=[
                f"<results>/{analysis}/plots/{plot}.pdf"
                for plot in analyses.load(analysis).figure_names()
            ],
        log:
            f"logs/plot/{analysis}.log",
        localrule: APART
        conda:
            "../../envs/conda.yaml"
        params:
            analysis=analysis,
            options=config.get(analysis, {}),
            label=(
                "Private Work" if lakes.is_private(config, analysis) else "Open Data"
            ),
        script:
            "../scripts/plot.py"
