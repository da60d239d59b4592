"""The configuration files of a lake, written anew at every start."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path
from string import Template
from typing import Any

from testbed.definition import Definition, private_folder, write_private

# Paths are relative to the lake's folder, in which all of its processes run.
_SERVER = Template("""\
[common]
logdir = log
loglevel = WARNING
[database]
default = $database
[policy]
package = testbed.rucio.policy
permission = generic
schema = generic
lfn2pfn_algorithm_default = hash
[metadata]
plugins = $metadata
[conveyor]
transfertool = testbed-copy
scheme = file,https,davs
[oidc]
idpsecrets = etc/idpsecrets.json
admin_issuer = issuer
expected_audience = https://lake.testbed
expected_scope = openid
""")

_GUNICORN = Template("""\
bind = "127.0.0.1:$port"
workers = $workers
threads = 8
worker_class = "gthread"
timeout = 120
graceful_timeout = 5
control_socket_disable = True
accesslog = "-"
errorlog = "-"
capture_output = True
""")

_SUPERVISOR = Template("""\
[unix_http_server]
file = $sockets/supervisor.sock
chmod = 0600
username = lake
password = $secret
[supervisord]
pidfile = run/supervisord.pid
logfile = log/supervisord.log
logfile_maxbytes = 1MB
logfile_backups = 1
childlogdir = log
umask = $umask
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://$sockets/supervisor.sock
username = lake
password = $secret
""")

_PROGRAM = Template("""\
[program:$name]
command = $command
priority = $priority
autorestart = $restart
startsecs = $seconds
startretries = 2
stopsignal = $signal
stopwaitsecs = 10
stopasgroup = $group
killasgroup = true
redirect_stderr = true
stdout_logfile = log/$name.log
stdout_logfile_maxbytes = 5MB
stdout_logfile_backups = 1
$more
""")

_CLIENT = Template("""\
# How to use the lake as $account: export RUCIO_CONFIG=<this file>
[client]
rucio_host = $url
auth_host = $url
auth_type = userpass
account = $account
username = $account
password = $password
auth_token_file_path = $token
request_retries = 3
[policy]
permission = generic
schema = generic
lfn2pfn_algorithm_default = hash
""")


def _percent(text: object) -> str:
    return str(text).replace("%", "%%")  # the readers of these files expand %


def free_port(preferred: int) -> int:
    """Give the preferred port of the loopback interface if it is free, else another."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")


def write_server(
    folder: Path, definition: Definition, *, python: Path, sockets: Path, database: dict[str, Any]
) -> None:
    """Write what the lake's own processes read.

    Args:
        folder: The lake.
        definition: What it is made of.
        python: Interpreter of the lake's environment.
        sockets: Folder of its sockets.
        database: Of the program that is the database, if one is: command, user and signal.
    """
    etc = private_folder(folder / "etc")
    sqlite = definition.database == "sqlite"
    address = (
        "sqlite:///db/rucio.db?timeout=60" if sqlite else "postgresql+psycopg://lake@/postgres"
    )
    metadata = (
        "testbed.rucio.metadata.SqliteJSONDidMeta"
        if sqlite
        else "rucio.core.did_meta_plugins.json_meta.JSONDidMeta"
    )
    write_private(etc / "rucio.cfg", _SERVER.substitute(database=address, metadata=metadata))
    write_private(etc / "idpsecrets.json", json.dumps(_issuers(definition)))
    # Requests to SQLite follow each other: a second worker would only take memory.
    gunicorn = _GUNICORN.substitute(port=definition.port, workers=1 if sqlite else 2)
    write_private(etc / "gunicorn.conf.py", gunicorn)
    programs = [program(**database)] if database else []
    run = [str(python), "-m"]
    server = [*run, "gunicorn", "-c", "etc/gunicorn.conf.py", "testbed.rucio.wsgi:application"]
    programs += [
        program("server", shlex.join(server)),
        program("daemons", shlex.join([*run, "testbed.rucio.daemons"])),
    ]
    write_supervisor(folder, definition.secret, sockets, programs)


def _issuers(definition: Definition) -> dict[str, Any]:
    """Tell the server whose tokens it takes. It asks this issuer for none itself: no secrets."""
    if not definition.issuer:
        return {}
    one = {"issuer": definition.issuer, "client_id": "rucio", "client_secret": ""}
    return {"issuer": one | {"redirect_uris": [definition.url], "SCIM": one}}


def write_supervisor(
    folder: Path, secret: str, sockets: Path, programs: list[str], *, umask: str = "022"
) -> None:
    """Write etc/supervisord.conf: the supervisor, its password, and its programs."""
    supervisor = _SUPERVISOR.substitute(sockets=_percent(sockets), secret=secret, umask=umask)
    write_private(folder / "etc/supervisord.conf", "\n".join([supervisor, *programs]))


def program(
    name: str,
    command: str,
    *,
    signal: str = "TERM",
    user: str = "",
    restart: bool = True,
    automatic: bool = True,
    folder: str = "",
    environment: dict[str, str] | None = None,
) -> str:
    """Give the supervisor's lines for a program, which runs in a folder of its service."""
    database = name == "database"
    more = [f"user = {user}"] if user else []
    more += [] if automatic else ["autostart = false"]  # somebody asks for it
    more += [f"directory = {folder}"] if folder else []
    if environment:
        pairs = [f'{key}="{_percent(value)}"' for key, value in environment.items()]
        more.append("environment = " + ",".join(pairs))
    return _PROGRAM.substitute(
        name=name,
        command=_percent(command),
        priority=1 if database else 2,
        signal=signal,
        group=str(not database).lower(),
        restart=str(restart).lower(),
        # What dies in these seconds is started again whatever `restart` says.
        seconds=4 if restart else 0,
        more="\n".join(more),
    )


def client_file(folder: Path, account: str) -> Path:
    """Give the place of an account's client configuration."""
    return folder / "clients" / account / "rucio.cfg"


def write_clients(folder: Path, definition: Definition) -> None:
    """Write the client configuration of every account."""
    private_folder(folder / "clients")
    for name, account in definition.accounts.items():
        path = client_file(folder, name)
        private_folder(path.parent)
        write_private(
            path,
            _CLIENT.substitute(
                url=definition.url,
                account=name,
                password=account["password"],
                token=_percent(path.with_name("token")),
            ),
        )
