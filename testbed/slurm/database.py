"""The MariaDB of a cluster's accounting, and what is in it: account, user, QOS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from testbed.configuration import program
from testbed.errors import TestbedError
from testbed.slurm import configuration, state
from testbed.slurm.state import Known

# A test-bed's data need not survive a power cut, so nothing waits for the disk.
_OPTIONS = [
    "--no-defaults",
    "--user=root",
    "--bind-address=127.0.0.1",
    f"--port={configuration.DATABASE}",
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=32M",
    "--innodb-lock-wait-timeout=900",
    "--innodb-flush-log-at-trx-commit=0",
    "--skip-name-resolve",
]


def prepare(folder: Path, sockets: Path) -> str:
    """Make the database if it is missing, and give the supervisor's lines for its server."""
    data = folder / "db"
    if not (data / "mysql").exists():
        _initialise(folder, data)
    options = [*_OPTIONS, f"--datadir={data}", f"--socket={_socket(sockets)}"]
    command = " ".join(["mariadbd", *options])
    return program("mariadb", command, restart=False)


def _socket(sockets: Path) -> Path:
    return sockets / "mariadb.sock"


def _initialise(folder: Path, data: Path) -> None:
    fresh = data.with_name("db.new")
    shutil.rmtree(fresh, ignore_errors=True)  # of a start that was interrupted
    command = ["mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={fresh}",
               "--skip-test-db", "--innodb-log-file-size=32M"]  # fmt: skip
    made = subprocess.run(command, text=True, capture_output=True, check=False, cwd=folder)
    if made.returncode != 0:
        said = made.stderr.strip()[-800:]
        raise TestbedError(f"mariadb-install-db failed: {said}", "free disk space")
    fresh.rename(data)


def admit(known: Known, sockets: Path) -> bool:
    """Let slurmdbd use the database; False if it does not answer yet."""
    sql = "CREATE DATABASE IF NOT EXISTS slurm_acct_db;\n"
    for who in ("localhost", "127.0.0.1"):
        sql += f"CREATE OR REPLACE USER slurm@'{who}' IDENTIFIED BY '{known.secret}';\n"
        sql += f"GRANT ALL ON slurm_acct_db.* TO slurm@'{who}';\n"
    # Root proves to be root by the socket.
    command = ["mariadb", "--no-defaults", f"--socket={_socket(sockets)}", "--user=root"]
    done = subprocess.run(command, input=sql, text=True, capture_output=True, check=False)
    return done.returncode == 0


def enter_accounts(folder: Path, known: Known) -> None:
    """Enter the cluster, its QOS, the account and its user, if they are not there."""

    def manage(*words: str) -> str:
        return state.checked(folder, known, "sacctmgr", "-i", *words)

    there = manage("--noheader", "--parsable2", "list", "account", "format=account").split()
    if configuration.ACCOUNT in there:
        return
    manage("add", "cluster", configuration.CLUSTER)
    manage("modify", "qos", "normal", "set", *_set(configuration.NORMAL))
    for name, limits in configuration.QOS.items():
        manage("add", "qos", name, "Flags=DenyOnLimit", *_set(limits))
    names = ",".join(["normal", *configuration.QOS])
    manage("add", "account", configuration.ACCOUNT, f"QOS={names}", "DefaultQOS=normal")
    # Everybody else, too, must have an account of their own.
    account = f"Account={configuration.ACCOUNT}"
    manage("add", "user", "root", account, f"DefaultAccount={configuration.ACCOUNT}")


def _set(limits: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in limits.items()]
