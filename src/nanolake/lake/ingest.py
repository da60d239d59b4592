"""Ingest: the local inputs of an analysis, uploaded and registered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanolake import catalogue, embargo
from nanolake.lake import upload
from nanolake.lake.client import connect
from nanolake.lake.content import digest


def run(
    program: str,
    receipt_file: str,
    *,
    analysis: str,
    entries: Mapping[str, Mapping[str, Any]],
    streams: Mapping[str, str],
    client: Mapping[str, Any],
    targets: Mapping[str, Mapping[str, Any]],
    embargoed: Sequence[str] = (),
    schemes: Sequence[str] = (),
) -> None:
    """Upload the inputs of an analysis, one dataset a sample.

    A file is named after its sample and its checksum, so that other content has another name. Its
    events are recorded with it, and with the dataset what it stands for.

    Args:
        program: The engine of the analysis, which looks into the files.
        receipt_file: Output: {analysis, datasets: {sample: receipt of `upload.put`}}.
        analysis: Its name.
        entries: See `catalogue.build`; all files are local.
        streams: See `catalogue.build`.
        client: `rucio_config` and `account`.
        targets: Sample to scope, dataset (a name with {sample} and {key}), rse, lifetime (days).
        embargoed: Samples that are; their datasets say so.
        schemes: Of the protocols to upload with, where the RSE has one of them.

    Raises:
        InputError: An input is damaged or not what is declared.
        LakeError: Lake or storage refuse.
        EmbargoError: Somebody else may read an embargoed file.
    """
    embargo.check_private([file["path"] for name in embargoed for file in entries[name]["files"]])
    local = catalogue.build(analysis, entries, streams, catalogue.inspector(program, analysis))
    rucio = connect(**client)
    receipts = {}
    for name, sample in local["samples"].items():
        target = targets[name]
        files = [
            {
                "path": file["path"],
                "did": f"{target['scope']}:{name}.{file['adler32']}.root",
                "events": file["events"],
            }
            for file in sample["files"]
        ]
        what = "luminosity" if sample["kind"] == "data" else "generated"
        # The same files may stand for something else, and are then another dataset.
        key = digest([*(file["did"] for file in files), sample[what]])[:8]
        dataset = target["dataset"].replace("{sample}", name).replace("{key}", key)
        receipts[name] = upload.put(
            rucio,
            files,
            dataset=f"{target['scope']}:{dataset}",
            rse=target["rse"],
            lifetime=target["lifetime"],
            metadata={what: sample[what]} | ({"embargoed": True} if name in embargoed else {}),
            comment="nanolake: input",
            schemes=schemes,
        )
    catalogue.write(receipt_file, {"analysis": analysis, "datasets": receipts})
