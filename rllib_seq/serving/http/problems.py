"""Refusals of the HTTP application.

- `PROBLEMS`: which there are, for its documentation.
- `refusal`: one of them.
"""

from __future__ import annotations

from typing import Any

from fastapi.responses import Response
from pydantic import BaseModel

from rllib_seq.serving.http.bid_endpoint import problem

__all__ = ["PROBLEMS", "Problem", "refusal"]


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
