"""Which extra of this package brings a module that is missing."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+).*;\s*extra == [\"'](?P<extra>\w+)[\"']")
_WITHOUT_NAMES_OF_THEIR_OWN = {"starlette": "fastapi"}


def extra_with(module: str | None) -> str | None:
    """The extra whose packages bring a module, as in `pip install "rllib-seq[serve]"`, or None."""
    top = (module or "").split(".")[0]
    top = _WITHOUT_NAMES_OF_THEIR_OWN.get(top, top)
    try:
        lines = requires("rllib-seq") or ()
    except PackageNotFoundError:  # in a cluster job, which brings the code alone
        return None
    found = map(_REQUIREMENT.match, lines)
    extras = {
        each["name"].replace("-", "_"): each["extra"]
        for each in found
        if each and each["extra"] != "dev"
    }
    return extras.get(top.replace("-", "_"))
