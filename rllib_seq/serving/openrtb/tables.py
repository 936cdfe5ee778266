"""Files of an operator: creatives, deals, rates.

- `read_table`: TOML or JSON, checked; whatever is wrong is one line
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from rllib_seq.errors import UserError

_Content = TypeVar("_Content", bound=BaseModel)


def read_table(path: str, what: str, kind: type[_Content]) -> _Content:
    """The content of a file, JSON if its name ends so and else TOML.

    Args:
        path: of the file.
        what: it holds, for messages.
        kind: what it must be.

    Raises:
        UserError: it cannot be read, or something in it is wrong; the line says which value.
    """
    try:
        text = Path(path).read_text("utf-8")
        if path.endswith(".json"):
            found = json.loads(text, object_pairs_hook=_once)
        else:
            found = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read {what} {path!r}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"cannot read {what} {path!r}: {error}") from None
    if not isinstance(found, dict):
        raise UserError(f"{what} {path!r}: give a table with the key {_keys(kind)}")
    try:
        return kind.model_validate(found)
    except ValidationError as error:
        raise UserError(f"{what} {path!r}: {_first_line(error)}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON takes the last of two values with one name; TOML refuses them."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands there twice")
    return found


def _keys(kind: type[BaseModel]) -> str:
    return " and ".join(map(repr, kind.model_fields))


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    what = first["msg"].removeprefix("Value error, ")
    given = first["input"]
    shown = "" if isinstance(given, dict | list | BaseModel) else f" (given: {given!r})"
    return f"{where}: {what}{shown}"
