"""A real HTCondor pool on this machine: on one host, or on three without a shared file system.

pool = up(Path("resources/condor"), hosts=2, site=Path("resources/xrootd"))
pool.submit_host(["condor_submit", "job.sub"])
pool.faults.power_cut("execute1")

One host (`hosts=0`) runs everything on the loopback interface and shares all files with its user.
It needs no root; as root, jobs are the user `analyst` of a user namespace, whose files are root's.

Several hosts need root. Each is a network, mount and UTS namespace on a bridge of their own, of
which the machine's network knows nothing. A host that executes jobs has

- none of the files of the project, of the user's home, of the folder in which the pool was brought
  up, of /tmp and of the pool; but HTCondor and the Python environment of whoever brought it up, as
  a facility has them on every node (not what is installed in this as a link to the project: the
  package nanolake has to travel), and what `show` names: then jobs run in these folders, as with
  a file system that all hosts share;
- `localhost:PORT` for every port of the site, of its lake, and of `expose`: the same server as on
  the machine, with the same name, so that URLs and certificates are right everywhere;
- scratch space that can be full, a power switch, and a cable that can be pulled.

With a site, jobs that name the service `scitokens` get WLCG tokens of its issuer, renewed while
they run; every job finds its authorities in X509_CERT_DIR; and the schedd takes tokens of its
issuer (subject analyst, audience https://pool.testbed) as well as those of the pool.
"""

from testbed.condor.pool import Pool, down, find, programs, up

__all__ = ["Pool", "down", "find", "programs", "up"]
