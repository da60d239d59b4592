"""A real Slurm cluster on this machine, laid out as Marconi100: a login node, compute nodes.

cluster = up(Path("resources/slurm"), nodes=2, site=Path("resources/xrootd"))
cluster.login_node(["sbatch", "job.sh"])
cluster.faults.power_cut(cluster.nodes[0])

It needs root and Debian's packages (`envs/setup slurm`), and changes nothing of the machine: every
host is a network, mount and UTS namespace with an /etc of its own, on a bridge of which the
machine's network knows nothing.

The login node runs munge, MariaDB, slurmdbd and slurmctld, and is the gateway. With a site of
XRootD, its loopback has the ports of the site and of its lake, as if it had a network; to the
compute nodes, `login.m100.test` offers those of the site's caches, and what `expose` names.

A compute node is a process tree of its own (a PID namespace) with slurmd. It has a cable to the
login node and no other route, and folders for temporary files of its own; all other files are
shared, as on a parallel file system: those of the project, and `show`. $CINECA_SCRATCH is shared,
too, of a size of its own, and empty after the cluster has been down. Where the machine has cgroups
(version 1), a job over its memory is killed by the kernel, and else by Slurm, some seconds later.

Everybody is root: the user of the login node, Slurm, and the jobs.
"""

from testbed.slurm.cluster import Cluster, down, find, programs, up

__all__ = ["Cluster", "down", "find", "programs", "up"]
