"""Refusals of the HTTP application.

- `PROBLEMS`: which there are, for its documentation.
- `refusal`: one of them; `problem`: its status and body.
- `first_problem`: what is wrong with a request, for people.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel


class Problem(BaseModel):
    """What is wrong with a request."""

    detail: str


PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"model": Problem, "description": text}
    for code, text in {
        400: "Not a valid request; `detail` says where.",
        401: "The token is missing or wrong.",
        403: "The request comes from a page of another site, or was sent to another host.",
        408: "The body took too long.",
        413: "The body is too large.",
        415: "The body is compressed, and not with gzip.",
        503: "The state cannot be written; try again.",
    }.items()
}


def refusal(code: int, detail: str) -> Response:
    """A refusal that says what is wrong."""
    status, content = problem(code, detail)
    return Response(content, status, media_type="application/json")


def problem(status: int, detail: str) -> tuple[int, bytes]:
    """A refusal and its body."""
    return status, json.dumps({"detail": detail}).encode()


def first_problem(errors: Sequence[Any]) -> str:
    """Where the first error is and what it is; not the value, which may be personal."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{where}: {errors[0]['msg']}{more}" if where else f"{errors[0]['msg']}{more}"
