"""The configuration of the pool's hosts and of its user, written anew at every start.

hosts/<host>/condor_config     what the daemons of a host read
hosts/<host>/tokens.d/         how they prove to be daemons of the pool
client/condor_config           what CONDOR_CONFIG of the user names
client/tokens.d/               how the user proves to be one
env.sh                         to be sourced; prints nothing
"""

from __future__ import annotations

import os
import pwd
import shlex
from pathlib import Path
from string import Template
from typing import NamedTuple

from testbed import processes, unpacked
from testbed.definition import write_private

DOMAIN = "pool.test"
SUBMIT = "submit"
AUDIENCE = "https://pool.testbed"  # of tokens that the pool takes for submission
PORT = 9618  # of a host that has a network of its own
_NETWORK = "10.77.0"
_MANAGES = "COLLECTOR, NEGOTIATOR, SCHEDD"
_TOKENS = "CREDD, CREDMON_OAUTH"


class Host(NamedTuple):
    """A host of the pool.

    Args:
        name: Its name, below DOMAIN.
        address: Its address.
        executes: Whether jobs run on it.
        cpus: Cores that it says to have; more than there are is fine for tests.
        memory: Megabytes that it says to have.
    """

    name: str
    address: str
    executes: bool
    cpus: int
    memory: int


def hosts(number: int) -> list[Host]:
    """Give the hosts of a pool: one that does everything, or a submit host and `number` others."""
    if not number:
        return [Host(SUBMIT, "127.0.0.1", True, 8, 16384)]
    submit = Host(SUBMIT, f"{_NETWORK}.1", False, 2, 4096)
    return [
        submit,
        *(Host(f"execute{i}", f"{_NETWORK}.{i + 1}", True, 4, 8192) for i in range(1, number + 1)),
    ]


def user() -> str:
    """Name the user: root is another one in the pool, as no job ever runs as root."""
    return "analyst" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


_HOST = Template("""\
RELEASE_DIR = $prefix
BIN = $prefix/bin
SBIN = $prefix/sbin
LIBEXEC = $prefix/libexec
LIB = $prefix/tree/usr/lib
SHARE = $prefix/tree/usr/share
LOCAL_DIR = $folder
LOG = $folder/log
SPOOL = $folder/spool
EXECUTE = $folder/execute
LOCK = $folder/lock
RUN = $folder/run
ETC = $folder
LOCAL_CONFIG_FILE =
LOCAL_CONFIG_DIR =
DAEMON_LIST = MASTER, SHARED_PORT, $daemons

CONDOR_HOST = $manager
COLLECTOR_HOST = $manager:$port
SHARED_PORT_PORT = $port
NETWORK_INTERFACE = $address
BIND_ALL_INTERFACES = False
ENABLE_IPV6 = False
NETWORK_HOSTNAME = $name.$domain
UID_DOMAIN = $domain
FILESYSTEM_DOMAIN = $files
TRUST_UID_DOMAIN = True
SOFT_UID_DOMAIN = True

# Who: a signed token of the pool, or one of the site's issuer. Not a word in clear.
TRUST_DOMAIN = $domain
SEC_DEFAULT_AUTHENTICATION = REQUIRED
SEC_DEFAULT_ENCRYPTION = REQUIRED
SEC_DEFAULT_INTEGRITY = REQUIRED
SEC_DEFAULT_AUTHENTICATION_METHODS = IDTOKENS$methods
SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS
SEC_PASSWORD_DIRECTORY = $folder/passwords.d
SEC_TOKEN_SYSTEM_DIRECTORY = $folder/tokens.d
SEC_TOKEN_DIRECTORY = $folder/tokens.d
ALLOW_READ = *@$domain
ALLOW_WRITE = $user@$domain, condor@$domain
ALLOW_DAEMON = condor@$domain
ALLOW_NEGOTIATOR = condor@$domain
ALLOW_ADMINISTRATOR = condor@$domain
ALLOW_CLIENT = *
QUEUE_SUPER_USERS = condor
$site

NUM_CPUS = $cpus
MEMORY = $memory
NUM_SLOTS = 1
NUM_SLOTS_TYPE_1 = 1
SLOT_TYPE_1 = 100%
SLOT_TYPE_1_PARTITIONABLE = TRUE
RUNBENCHMARKS = 0
JAVA =
START = TRUE
START_LOCAL_UNIVERSE = TRUE
START_SCHEDULER_UNIVERSE = TRUE
SUSPEND = FALSE
WANT_SUSPEND = FALSE
PREEMPT = FALSE
KILL = FALSE
use POLICY: HOLD_IF_MEMORY_EXCEEDED
MachineMaxVacateTime = 5
KILLING_TIMEOUT = 5
JOB_DEFAULT_LEASE_DURATION = 30
JOB_DEFAULT_REQUESTMEMORY = 256
JOB_DEFAULT_REQUESTDISK = 10240
DEFAULT_USERLOG_FORMAT_OPTIONS = ISO_DATE SUB_SECOND
STARTER_JOB_ENVIRONMENT = "$environment"

# A pool of a few jobs: everything happens within seconds.
NEGOTIATOR_INTERVAL = 2
NEGOTIATOR_MIN_INTERVAL = 1
NEGOTIATOR_CYCLE_DELAY = 1
SCHEDD_INTERVAL = 2
SCHEDD_MIN_INTERVAL = 1
SCHEDD_INTERVAL_TIMESLICE = 1.0
UPDATE_INTERVAL = 5
CLASSAD_LIFETIME = 20
JOB_START_DELAY = 0
PERIODIC_EXPR_INTERVAL = 5
POLLING_INTERVAL = 2
SHADOW_QUEUE_UPDATE_INTERVAL = 5
STARTER_UPDATE_INTERVAL = 5
STARTER_INITIAL_UPDATE_INTERVAL = 2
RECONNECT_BACKOFF_CEILING = 5
ALIVE_INTERVAL = 10
# A host that is silent is missed after half a minute, and not after six.
TCP_KEEPALIVE_INTERVAL = 10
MASTER_BACKOFF_CONSTANT = 1
MASTER_BACKOFF_CEILING = 5
DISCARD_SESSION_KEYRING_ON_STARTUP = False

# Credentials of jobs: those that are renewed here reach a job within seconds.
SEC_CREDENTIAL_DIRECTORY_OAUTH = $folder/credentials
TRUST_CREDENTIAL_DIRECTORY = True
AUTO_INCLUDE_CREDD_IN_DAEMON_LIST = False
SEC_CREDENTIAL_REFRESH = 5
SHADOW_CHECKPROXY_INTERVAL = 5
DELEGATE_JOB_GSI_CREDENTIALS = False
CREDD_ARGS = -f
CREDMON_OAUTH = $folder/credmon
""")

# Authentication by SciTokens: the server shows a certificate, the client a token.
_SITE = Template("""\
AUTH_SSL_SERVER_CERTFILE = $folder/host.pem
AUTH_SSL_SERVER_KEYFILE = $folder/host.key
AUTH_SSL_SERVER_CAFILE = $folder/grid-security/certificates/ca.pem
SCITOKENS_SERVER_AUDIENCE = $audience
SEC_SCITOKENS_CACHE = $folder/issuers
CERTIFICATE_MAPFILE = $folder/mapfile
CERTIFICATE_MAPFILE_ASSUME_HASH_KEYS = True
""")

_CLIENT = Template("""\
# How to use the pool: export CONDOR_CONFIG=<this file>
include : $folder/hosts/submit/condor_config
CONDOR_IDS = $ids
SEC_PASSWORD_DIRECTORY = $folder/client/passwords.d
SEC_TOKEN_DIRECTORY = $folder/client/tokens.d
SEC_TOKEN_SYSTEM_DIRECTORY = $folder/client/tokens.d
# With a token of the site's issuer: export _CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS=SCITOKENS
SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS
$authority
""")


def place(folder: Path, host: str) -> Path:
    """Give the folder in which a host keeps everything."""
    return folder / "hosts" / host


def client_file(folder: Path) -> Path:
    """Give what CONDOR_CONFIG of the user names."""
    return folder / "client/condor_config"


def write(
    folder: Path, name: str, members: list[Host], port: int, *, site: bool, shared: bool
) -> None:
    """Write what the daemons of every host and the user read.

    Args:
        folder: The pool.
        name: Its mark in the environment of its processes.
        members: Its hosts, the one that manages it first.
        port: Where each host listens.
        site: Whether tokens of a site of XRootD are taken and given to jobs.
        shared: Whether hosts have folders in common, in which jobs run where they are submitted.
    """
    own = {
        "prefix": unpacked.folder("condor"),
        "domain": DOMAIN,
        "user": user(),
        "manager": members[0].address,
        "port": port,
        "methods": ", SCITOKENS" if site else "",
    }
    for host in members:
        where = place(folder, host.name)
        write_private(
            where / "condor_config",
            _HOST.substitute(
                own,
                **host._asdict(),
                folder=where,
                files=DOMAIN if shared else f"{host.name}.{DOMAIN}",
                daemons=", ".join(_daemons(host, site)),
                site=_SITE.substitute(folder=where, audience=AUDIENCE) if site else "",
                environment=_environment(where, name, site),
            ),
        )
    _write_client(folder, members[0], site)


def _daemons(host: Host, site: bool) -> list[str]:
    manages = [_MANAGES, *([_TOKENS] if site else [])] if host.name == SUBMIT else []
    return [*manages, *(["STARTD"] if host.executes else [])]


def _environment(where: Path, name: str, site: bool) -> str:
    """Give what every job finds in its environment: this pool's mark, the authorities it trusts."""
    found = {processes.MARK: name}
    if site:
        found["X509_CERT_DIR"] = str(where / "grid-security/certificates")
        found["X509_VOMS_DIR"] = str(where / "grid-security/vomsdir")
    return " ".join(f"{key}='{value}'" for key, value in found.items())


def _write_client(folder: Path, submit: Host, site: bool) -> None:
    where = place(folder, submit.name)
    ca = f"AUTH_SSL_CLIENT_CAFILE = {where}/grid-security/certificates/ca.pem" if site else ""
    ids = f"{os.geteuid()}.{os.getegid()}"
    text = _CLIENT.substitute(folder=folder, ids=ids, authority=ca)
    write_private(client_file(folder), text)
    programs = ":".join(shlex.quote(str(path)) for path in _programs())
    config = shlex.quote(str(client_file(folder)))
    text = f"export CONDOR_CONFIG={config}\nexport PATH={programs}:$PATH\n"
    write_private(folder / "env.sh", text)


def binaries() -> Path:
    """Give the folder of condor_submit and the other commands."""
    return unpacked.folder("condor") / "bin"


def _programs() -> list[Path]:
    return [binaries(), binaries().with_name("sbin")]


def variables(folder: Path) -> dict[str, str]:
    """Give what a user has in the environment: where the pool is, and its commands."""
    path = ":".join([*map(str, _programs()), os.environ.get("PATH", os.defpath)])
    return {"CONDOR_CONFIG": str(client_file(folder)), "PATH": path}


def quote(command: list[object]) -> str:
    """Give a command as the supervisor reads it."""
    return shlex.join(map(str, command))
