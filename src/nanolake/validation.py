"""Strict JSON Schemas: values completed with their defaults, and what they refuse in plain words.

Knows no key of ours: nanolake.config says which schema is for what.
"""

import difflib
import math
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

_KINDS = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}


def plain(value: Any) -> Any:
    """Copies a value into dict and list only, with text keys, whatever types it came in."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def complete(value: Any, schema: Mapping[str, Any]) -> Any:
    """Fills in the defaults of a schema, and reads text as the type that the schema wants.

    Snakemake's command line gives text inside lists and mappings, whatever it stands for. What
    cannot be read stays as it is, for `problems` to refuse.

    Args:
        value: A value of plain types (see `plain`); None where a default exists means the default.
        schema: JSON Schema of the value, without references.

    Returns:
        The completed copy, keys in the order of the schema.
    """
    kinds = schema.get("type", [])
    if value is None and "null" not in kinds and "default" in schema:
        value = schema["default"]
    if isinstance(value, str) and "array" in kinds:
        value = [item.strip() for item in value.split(",")]
    if isinstance(value, list):
        return [complete(item, schema.get("items", {})) for item in value]
    if not isinstance(value, Mapping):
        return _typed(value, kinds)
    known = schema.get("properties", {})
    filled = {key: complete(value.get(key), sub) for key, sub in known.items()}
    return filled | {
        key: complete(item, _pattern_schema(key, schema))
        for key, item in value.items()
        if key not in known
    }


def _pattern_schema(key: str, schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a key that is known by its pattern only."""
    patterns = schema.get("patternProperties", {})
    return next((sub for pattern, sub in patterns.items() if re.search(pattern, key)), {})


def _typed(value: Any, kinds: str | Sequence[str]) -> Any:
    """A scalar as one of the types wanted, or as it is where that cannot be."""
    if isinstance(value, bool) and "string" in kinds:
        return "on" if value else "off"  # YAML 1.1 reads a bare `off` as false
    if isinstance(value, int) and "string" in kinds:
        return str(value)  # a folder named 2012
    if isinstance(value, str) and "boolean" in kinds and value.lower() in ("true", "false"):
        return value.lower() == "true"  # the command line's relock=true is text
    if isinstance(value, str) and "null" in kinds and value.lower() in ("", "null", "none"):
        return None
    if isinstance(value, (str, float)) and ("integer" in kinds or "number" in kinds):
        return _number(value, whole="integer" in kinds)
    if isinstance(value, int) and not isinstance(value, bool) and "number" in kinds:
        return float(value)  # one spelling of 1 and 1.0: a changed spelling must not re-run jobs
    return value


def _number(value: str | float, *, whole: bool) -> int | float | str:
    """A finite number; anything else as text, which the schema then refuses."""
    try:
        number = float(value)
    except ValueError:
        return value
    if whole and number.is_integer():
        return int(value) if isinstance(value, str) and value.strip().isdigit() else int(number)
    return number if math.isfinite(number) else str(value)


def problems(value: Any, schema: Mapping[str, Any], name: str) -> tuple[list[str], set[str]]:
    """Lists what a schema refuses, in plain words.

    Args:
        value: The value, of plain types.
        schema: Its JSON Schema (draft 2020-12), with a description of everything.
        name: Name of the file, which opens every line.

    Returns:
        One line for each problem, and the top-level keys whose values are refused.
    """
    lines: list[str] = []
    keys: set[str] = set()
    for error in _validator()(schema).iter_errors(value):
        keys.update(str(key) for key in list(error.absolute_path)[:1])
        lines += [f"{name}: {line}" for line in _say(error, schema)]
    return lines, keys


def _validator() -> Any:
    """The validator of jsonschema, which only a check should cost: it takes 0.15 s to import.

    It takes a second more where JupyterLab has brought what checks IRIs, whose grammars it compiles
    at once: a third of what any `snakemake` takes to start. No schema here has such a format.
    """
    iris = "rfc3987_syntax"
    absent = "jsonschema" not in sys.modules and iris not in sys.modules
    if absent:
        sys.modules[iris] = None  # type: ignore[assignment]
    from jsonschema import Draft202012Validator

    if absent:
        del sys.modules[iris]
    return Draft202012Validator


def _say(error: Any, schema: Mapping[str, Any]) -> list[str]:
    """One error of the validator in words that name the key, the value and what is allowed."""
    where, value, rule = _path(error.absolute_path), error.instance, error.validator_value
    at = f"{where}: " if where else ""
    shown = textwrap.shorten(repr(value), 80)
    match error.validator:
        case "additionalProperties":
            return list(_unknown(error, schema))
        case "required":
            missing = [key for key in rule if key not in value]
            return [f"{_path([*error.absolute_path, key])}: missing" for key in missing]
        case "type":
            kinds = [rule] if isinstance(rule, str) else rule
            return [f"{at}{shown} is not {' or '.join(_KINDS[kind] for kind in kinds)}"]
        case "enum":
            hint = _maybe(value, rule)
            return [f"{at}{shown} is not allowed; use one of {', '.join(rule)}{hint}"]
        case "pattern":
            return [
                f"{at}{shown} does not match {rule} ({error.schema['description'].rstrip('.')})"
            ]
        case "minimum":
            return [f"{at}{shown} is too small; it must be >= {rule}"]
        case "exclusiveMinimum":
            return [f"{at}{shown} is too small; it must be > {rule}"]
        case "minItems" | "minProperties" | "minLength":
            return [f"{at}empty; give at least one"]
        case "uniqueItems":
            return [f"{at}{shown} names something twice"]
        case "not":
            return [f"{at}not allowed here: {error.schema['description'].rstrip('.')}"]
    return [f"{at}{error.message}"]


def _unknown(error: Any, schema: Mapping[str, Any]) -> Iterator[str]:
    """Each key that its mapping does not have, with the nearest one it has."""
    known = error.schema.get("properties", {})
    patterns = error.schema.get("patternProperties", {})
    for key in error.instance:
        if key in known or any(re.search(pattern, key) for pattern in patterns):
            continue
        where = _path([*error.absolute_path, key])
        if patterns:
            yield f"{where}: not a valid name; it must match {' or '.join(patterns)}"
        elif not error.absolute_path and (homes := _homes(key, schema)):
            yield f"{where}: unknown key; did you mean {' or '.join(homes)}?"
        else:
            yield f"{where}: unknown key{nearest(key, known)}"


def _homes(key: str, schema: Mapping[str, Any]) -> list[str]:
    """Where a key of the top level belongs, if it is one of a section, as in --config scale=2."""
    sections = schema.get("properties", {}).items()
    return [f"{name}.{key}" for name, sub in sections if key in sub.get("properties", {})]


def _path(keys: Iterable[str | int]) -> str:
    """A place in a configuration: analyses.higgs4l.datasets.ZZTo4e.places.portal.files[0]."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).lstrip(".")


def _maybe(name: Any, known: Iterable[str]) -> str:
    """A hint at the nearest known name, if any is near."""
    near = difflib.get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest of the known names, or at all of them: `; did you mean 'seed'?`."""
    names = list(known)
    return _maybe(name, names) or f"; known: {', '.join(names) or 'none'}"
