"""Ingest: the inputs of an analysis into the lake. Needs local files, makes a receipt of their DIDs."""

if any(
    lakes.ingest_target(config, sample)
    for samples in SAMPLES.values()
    for sample in samples
):

    rule upload_inputs:
        input:
            engine=ancient("<results>/{analysis}/engine"),
            files=local_files,
        output:
            "<results>/{analysis}/ingested.json",
        log:
            "logs/ingest/{analysis}.log",
        localrule: True
        conda:
            "../../envs/conda.yaml"
        params:
            entries=entries,
            streams=streams,
            client=lakes.client_settings(config["lake"]),
            targets=lambda wildcards: {
                sample: lakes.ingest_target(config, sample)
                for sample in SAMPLES[wildcards.analysis]
            },
            embargoed=lambda wildcards: [
                sample
                for sample in SAMPLES[wildcards.analysis]
                if lakes.embargoed(config, sample)
            ],
            schemes=config["lake"]["read"]["schemes"],
        script:
            "../scripts/ingest.py"

    rule ingest:
        input:
            expand("<results>/{analysis}/ingested.json", analysis=SAMPLES),

else:

    rule ingest:
        input:
            refuse("ingest"),
