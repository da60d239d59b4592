"""Stand-in until branch cred is merged."""

from __future__ import annotations

import os
from pathlib import Path


def bearer() -> str | None:
    path = os.environ.get("BEARER_TOKEN_FILE")
    return Path(path).read_text().strip() if path else None


def client_certificate() -> str | None:
    return os.environ.get("X509_USER_PROXY")


def authorities() -> str | None:
    return os.environ.get("X509_CERT_DIR")
