"""Jobs of batch systems: what they run, how they fail, who watches them.

- event_log: one log of events a run
- luggage: what travels with a job, and how the job finds it
- job: what a job runs around its own Snakemake; says the cause of a failure in its exit status
- condor_events: what HTCondor says of the jobs of this folder, and their removal
- slurm_queue: what Slurm's queue holds of the jobs of this folder, and their removal
- watch: counts units, jobs and events while a run works, and says so
- state: the files in which a run leaves word, and the processes that they name
- coordinator: submit, status and stop: a run that outlives its terminal
- condor: what is said of jobs of a pool: causes, remedies, a credential that ends the run
"""
