"""Jobs of batch systems: what they run, how they fail, who watches them.

- job: what a job runs around its own Snakemake; says the cause of a failure in its exit status
- condor: on the side of the coordinator: what an earlier run left, what is said of jobs
"""
