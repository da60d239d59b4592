"""What units take along as jobs of a pool: their code where nothing is shared, their credential."""

import os
import sys
from pathlib import Path

from nanolake.batch import event_log, luggage

# `--shared-fs-usage none`: hosts that see nothing of this one. The engine and what only moves the
# files of units (merge, histogram, plot) then stay beside Snakemake: to send these files out and
# back would cost more than to work on them, and here is the compiler.
APART = not workflow.storage_settings.shared_fs_usage
LUGGAGE = luggage.choose(
    config,
    config["lake"]["credential"],
    service=config["pool"]["token_service"],
    apart=APART,
)
if workflow.is_main_process:
    # HTCondor's plugin hands environment variables on by their names only.
    os.environ.update(LUGGAGE.environment())
    os.environ.setdefault("NANOLAKE_PYTHON", sys.executable)


def travels(log, units=lambda wildcards: [], folder=None):
    """Resources of a job that HTCondor's plugin reads: what goes with it and comes back.

    Its outputs come back if it succeeds, its log in any case: a job whose outputs are missing would
    be held, and its cause be lost. Of a pack that fails the `units` that it has made come back, too, with all
    of their `folder`, and go with it the next time. Strings among these need the names of HTCondor's
    own attributes: the plugin puts those of submit commands into quotes.
    """
    found = {"classad_NanolakeSeconds": 60 * config["pool"]["minutes"]}
    if LUGGAGE.service:
        found["classad_OAuthServicesNeeded"] = LUGGAGE.service
    if LUGGAGE.kind == "x509":
        found["classad_x509userproxy"] = os.path.abspath(credentials.proxy_file())
    if not APART:
        return found

    def taken(wildcards):
        return ",".join([*LUGGAGE.files(), *filter(exists, units(wildcards))])

    def returned(wildcards):
        return ",".join([log.format(**dict(wildcards.items())), *units(wildcards)])

    def returned_in_any_case(wildcards):
        # Both are there: see profiles/condor/job.
        return ",".join(["logs", *([folder(wildcards)] if folder else [])])

    return found | {
        "htcondor_transfer_input_files": taken,
        "htcondor_transfer_output_files": returned,
        "classad_FailureFiles": returned_in_any_case,
        "classad_WhenToTransferOutput": "ON_SUCCESS",
        "classad_JobSuccessExitCode": 0,
    }


def begin_pool():
    """See that jobs can be given all that they need, and pack it."""
    if APART:
        settings.require_apart(
            config, snakefile=workflow.main_snakefile, configfiles=workflow.configfiles
        )
    jobs = Path(workflow.executor_settings.jobdir)
    atexit.register(event_log.put_away, jobs)
    luggage.check(LUGGAGE, minutes=config["pool"]["minutes"])
    # Own files in place of the source's have been read when units begin.
    luggage.pack(LUGGAGE, {**config, "inputs": None} if APART else config)
