"""Ingest: the inputs of an analysis into the lake. Needs local files, makes a receipt of their DIDs."""

if config["lake"]["ingest"]:

    rule upload_inputs:
        input:
            engine=ancient("<results>/{analysis}/engine"),
            files=local_files,
        output:
            "<results>/{analysis}/ingested.json",
        log:
            "logs/ingest/{analysis}.log",
        conda:
            "../../envs/conda.yaml"
        params:
            entries=entries,
            streams=streams,
            client=settings.client_settings(config["lake"]),
            target=config["lake"]["ingest"],
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
