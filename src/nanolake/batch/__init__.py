"""Jobs of batch systems: what they run, how they fail, who watches them.

- event_log: one log of events a run
- luggage: what travels with a job, and how the job finds it
- job: what a job runs around its own Snakemake; says the cause of a failure in its exit status
"""
