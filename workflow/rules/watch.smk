"""What a run says of itself while it works: a line now and then, and a file for `nanolake status`.

A handler of Snakemake's log, put there when jobs are about to start. A logger plugin of its own would be
loaded by the Snakemake of every job, and is not found in a package that is installed to be edited.
"""

import atexit
import logging
import os
import signal
from pathlib import Path

from snakemake.logging import logger

from nanolake import causes

WATCH = None


def ledgers_of(step, wildcards):
    """The ledgers of the units that a job makes; none if it makes other things."""
    if step == "skim":
        units = [(wildcards["sample"], wildcards["unit"])]
    elif step == "skim_pack":
        units = pack.chosen(plan(wildcards["analysis"]), wildcards["pack"])
    else:
        return []
    folder = join(config["results"], wildcards["analysis"], "units")
    return [f"{folder}/{sample}/{unit}.json" for sample, unit in units]


class Events(logging.Handler):
    """Tells a watch what the log says of jobs, and Snakemake, which knows no causes, what to do.

    A job that failed by a cause that is final is not run again (`retries` of a profile).
    A job whose credential is not good enough stops the run, as Ctrl-C does: with the same
    credential all others would fail, too, one by one.
    """

    def __init__(self, watch):
        super().__init__()
        self.watch, self.size = watch, -1
        self.logs, self.stopping = {}, False

    def emit(self, record):
        event = getattr(record, "event", None)
        if event is not None and (tell := getattr(self, event.name.lower(), None)):
            tell(record)

    def job_started(self, record):
        """Count again where a checkpoint has made the DAG grow: nothing else changes it now."""
        dag = workflow.dag
        if len(dag) != self.size:
            self.size = len(dag)
            self.watch.plan(self.count(dag.jobs), self.count(dag.needrun_jobs()))

    def count(self, jobs):
        return sum(len(ledgers_of(job.rule.name, job.wildcards_dict)) for job in jobs)

    def job_info(self, record):
        self.logs[record.jobid] = list(record.log)
        self.watch.begin(
            record.jobid,
            " ".join([record.rule_name, "/".join(record.wildcards.values())]).strip(),
            here=record.local or workflow.local_exec,
            log="".join(record.log[:1]),
            ledgers=ledgers_of(record.rule_name, record.wildcards),
        )

    def job_finished(self, record):
        self.watch.finish(record.job_id)

    def job_error(self, record):
        self.watch.fail(record.jobid)
        found = set(map(causes.of_log, self.logs.pop(record.jobid, [])))
        if any(map(causes.is_final, found)):
            self.give_up(record.jobid)
        if not self.stopping and "credential" in found:
            self.stopping = True
            logger.error(
                "the run stops: a credential is not good enough; its job's log, below, says what to do"
            )
            os.kill(os.getpid(), signal.SIGINT)

    def give_up(self, jobid):
        """Let this have been the last time that a job may run."""
        job = next(job for job in workflow.dag.jobs if job.jobid == jobid)
        # Not the property, which forgets the resources that are yet to be given back.
        job._attempt = job.restart_times + 1


def begin_watch(log):
    """Watch the run until `end_watch`, or the end of this process.

    `log`: where Snakemake keeps what it says.
    """
    global WATCH
    # A shell lets what it runs in the background ignore it; `nanolake stop` must be heard.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from nanolake.batch.watch import Watch, interval

    queue = None
    if workflow.executor_plugin.name == "htcondor":
        queue = Path(workflow.executor_settings.jobdir, "snakemake-rules.log")
    try:
        every = interval()
    except NanolakeError as error:
        raise WorkflowError(str(error)) from error
    WATCH = Watch(
        logger.info,
        every=every,
        log="".join(log[:1]),
        queue=queue,
        engine=workflow.executor_plugin.name,
    )
    events = Events(WATCH)
    events.job_started(None)
    WATCH.start()
    logger.addHandler(events)
    atexit.register(WATCH.end)


def end_watch(well):
    """Say how far the run came, and leave word whether Snakemake is content."""
    if WATCH:
        WATCH.end(well)
