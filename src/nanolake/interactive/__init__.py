"""An analysis in a notebook: the same plan, units and results as a batch run, over Dask.

analysis.py   what a notebook holds: prepare, run, look, publish
units.py      what a worker runs: one unit, in a process of its own
tasks.py      who gives units to workers, and what happens when one fails
cluster.py    workers: on this machine, as jobs of HTCondor, as jobs of Slurm

All that is not a unit is done by Snakemake, by the rules of a batch run.
"""
