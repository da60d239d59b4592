"""Rucio's REST interface as gunicorn runs it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rucio.db.sqla.session import get_engine
from rucio.web.rest.flaskapi.v1.main import application as rucio_application

from testbed.rucio import validation
from testbed.rucio.lock import (
    Application,
    DatabaseLock,
    StartResponse,
    around_requests,
    tune_sqlite,
)


def named(application: Application, lake: str) -> Application:
    """Put the lake's name on every answer, so that nobody takes another server for it."""

    def with_name(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, [*headers, ("X-Testbed-Lake", lake)], *rest)

        return application(environ, start)

    return with_name


validation.install()
application: Application = named(rucio_application, os.environ["TESTBED_SERVICE"].partition(":")[0])
if get_engine().dialect.name == "sqlite":
    tune_sqlite(get_engine())
    application = around_requests(application, DatabaseLock(Path("run/database.lock")))
