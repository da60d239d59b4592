"""Rucio's check of what clients send, without checking Rucio's own schemas again each time.

jsonschema's ``validate`` first validates the schema itself: 30 ms, more than the rest of a request.
"""

from __future__ import annotations

from typing import Any

from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from rucio.common import schema as rucio_schema


def validate(instance: Any, schema: Any) -> None:
    """Raise jsonschema's ValidationError if the instance does not follow the schema."""
    error = best_match(validator_for(schema)(schema).iter_errors(instance))
    if error is not None:
        raise error


def install() -> None:
    """Make Rucio use it."""
    rucio_schema.validate = validate
