"""A real HTCondor pool on this machine: on one host, or on three without a shared file system.

pool = up(Path("resources/condor"))
pool.run("condor_q")
"""

from testbed.condor.pool import Pool, down, find, programs, up

__all__ = ["Pool", "down", "find", "programs", "up"]
