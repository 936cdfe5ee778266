"""Secrets: from the environment or from files that it names, never from options.

- `read_secret`: one of them.
- `has_password`, `without_password`: of a URL.

Options stand in the list of processes, which every user of a machine can read.
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from rllib_seq.errors import UserError


def read_secret(name: str) -> str | None:
    """The content of the environment variable `name`, or of the file that `name_FILE` names.

    Raises:
        UserError: both are set, or the file cannot be read or is empty; no message shows a secret.
    """
    value, file = os.environ.get(name), os.environ.get(name + "_FILE")
    if value == "":
        raise UserError(f"{name} is empty; write the secret into it, or unset it")
    if file is None:
        return value
    if value is not None:
        raise UserError(f"{name} and {name}_FILE are both set; unset one of them")
    try:
        content = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {name}_FILE {file!r}: {error}") from error
    if not content:
        raise UserError(f"{name}_FILE {file!r} is empty; write the secret into it")
    return content


def has_password(url: str) -> bool:
    """Whether a URL shows one."""
    parts = urlsplit(url)
    return bool(parts.password) or "password" in parse_qs(parts.query)


def without_password(url: str) -> str:
    """A URL for people: its scheme, and its host and what follows, without options."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2].partition('?')[0]}" if mark else url
