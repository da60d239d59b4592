"""The configuration of Slurm, written anew at every start; /etc/slurm of every host is etc/slurm.

Partitions, QOS and their limits are those that CINECA published for Marconi100.
"""

from __future__ import annotations

import os
from pathlib import Path
from string import Template

from testbed.definition import private_folder, write_private
from testbed.slurm.state import Known

CLUSTER = "m100"
DOMAIN = "m100.test"
ACCOUNT = "inf26_nanolake"
CPUS, MEMORY = 8, 16000  # of a node; more than there are is fine for tests
CONTROLLER, DATABASE_DAEMON, DATABASE = 6817, 6819, 3306  # ports of the login node
NORMAL = {"Priority": "40"}
QOS = {
    "m100_qos_dbg": {"Priority": "80", "MaxWall": "02:00:00", "MaxTRESPerJob": "node=2"},
    "m100_qos_bprod": {"Priority": "60", "MinTRESPerJob": "node=17", "MaxTRESPerJob": "node=256"},
    "qos_lowprio": {"Priority": "0"},
}

_SLURM = Template("""\
ClusterName=$cluster
SlurmctldHost=login($login)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A job that is queued again waits until its credential is over.
AuthInfo=socket=$munge,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/nodes/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldDebug=info
SlurmdDebug=info
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
DefMemPerCPU=1000
EnforcePartLimits=ALL
MaxArraySize=10001
$limits

# Jobs of the other partitions push those of m100_usr_preempt out: these are queued again.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PriorityType=priority/multifactor
PriorityWeightQOS=1000

# Accounting: no job without an account, none over the limits of its QOS.
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=login
AccountingStoragePort=$daemon
AccountingStoragePass=$munge
AccountingStorageEnforce=associations,limits,qos
AccountingStoreFlags=job_comment
JobAcctGatherType=jobacct_gather/linux

# A cluster of a few jobs: everything happens within seconds.
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=5,sched_min_interval=200000,batch_sched_delay=0
SlurmctldTimeout=20
SlurmdTimeout=10
ReturnToService=2
KillWait=3
CompleteWait=0
MessageTimeout=20
TCPTimeout=5
MinJobAge=300

NodeName=$nodes CPUs=$cpus RealMemory=$memory Feature=m100 State=UNKNOWN
PartitionName=DEFAULT DefaultTime=00:30:00 MaxTime=24:00:00 MaxNodes=16 State=UP
PartitionName=m100_all_serial Nodes=$first Default=YES MaxTime=04:00:00 MaxNodes=1 \
MaxCPUsPerNode=1 MaxMemPerNode=7600 PriorityTier=40 PreemptMode=OFF
PartitionName=m100_usr_prod Nodes=ALL PriorityTier=40 PreemptMode=OFF
PartitionName=m100_usr_preempt Nodes=ALL PriorityTier=1
""")

_CGROUPS = """\
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherFrequency=task=2
"""
_NO_CGROUPS = """\
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill,UsePss
"""
# Processors are not constrained: a node says to have more than the machine has.
_CGROUP = """\
CgroupPlugin=cgroup/v1
CgroupAutomount=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=yes
AllowedSwapSpace=0
"""

_SLURMDBD = Template("""\
AuthType=auth/munge
AuthInfo=socket=$munge
DbdHost=login
DbdPort=$daemon
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$database
StorageUser=slurm
StoragePass=$secret
StorageLoc=slurm_acct_db
PidFile=$folder/run/slurmdbd.pid
DebugLevel=info
""")


def cgroups() -> bool:
    """Say whether the machine has cgroups that Slurm can use here."""
    return all(os.access(f"/sys/fs/cgroup/{name}", os.W_OK) for name in ("memory", "freezer"))


def address() -> str:
    """Give the name of the login node, under which compute nodes reach the gateway."""
    return f"login.{DOMAIN}"


def write(folder: Path, known: Known, munge: Path) -> None:
    """Write what the daemons and commands of Slurm read.

    Args:
        folder: The cluster.
        known: Its secret, its nodes.
        munge: Socket of munge.
    """
    own = {
        "folder": folder,
        "cluster": CLUSTER,
        "login": known.login.address,
        "port": CONTROLLER,
        "daemon": DATABASE_DAEMON,
        "database": DATABASE,
        "munge": munge,
        "secret": known.secret,
        "limits": _CGROUPS if cgroups() else _NO_CGROUPS,
        "nodes": ",".join(one.name for one in known.computes),
        "first": known.computes[0].name,
        "cpus": CPUS,
        "memory": MEMORY,
    }
    etc = private_folder(folder / "etc/slurm")
    write_private(etc / "slurm.conf", _SLURM.substitute(own))
    write_private(etc / "slurmdbd.conf", _SLURMDBD.substitute(own))
    write_private(etc / "cgroup.conf", _CGROUP)


def hosts(known: Known) -> list[str]:
    """Give the lines of /etc/hosts: a host must know its own name, too."""
    members = [known.login, *known.computes]
    return [f"{one.address} {one.name}.{DOMAIN} {one.name}" for one in members]
