"""`DELETE /users`: what people may ask for.

- `add_user_routes`: to the application.
- `IdKind`, `Where`: which id of a user is meant, in queries; `unknowable`: why it is none.
"""

from __future__ import annotations

import logging
from typing import Annotated, Literal

from fastapi import FastAPI, Query
from fastapi.responses import Response

from rllib_seq.serving.http.problems import PROBLEMS, refusal
from rllib_seq.serving.openrtb.identity import is_id
from rllib_seq.serving.quiet_log import OncePerSecond
from rllib_seq.serving.service import BidService

__all__ = ["IdKind", "Where", "add_user_routes", "unknowable"]

_LOG = logging.getLogger(__name__)
_LOG.addFilter(OncePerSecond())

IdKind = Literal["buyeruid", "eids", "ifa", "id"]
Where = Annotated[
    str, Query(max_length=256, description="Source of an eid, or exchange of a user.id.")
]


def unknowable(user: str, id_kind: str, where: str) -> str | None:
    """Why a query names no user that a request could have named."""
    if not is_id(user):
        return "user: is not the id of a user"
    if id_kind == "eids" and not where.strip():
        return "where: give the source of the eid"
    return None


def add_user_routes(app: FastAPI) -> None:
    """Adds them."""

    @app.delete("/users", responses=PROBLEMS, status_code=204, response_class=Response)
    async def forget(
        user: Annotated[str, Query(min_length=1, max_length=4096)],
        id_kind: IdKind = "buyeruid",
        where: Where = "",
    ) -> Response:
        """Forgets a user: their past, and notices about them, in memory and in the state."""
        service: BidService = app.state.service
        why = unknowable(user, id_kind, where)
        if why is not None:
            return refusal(400, why)
        try:
            key = service.identities.key(id_kind, user, where)
            await app.state.batcher.call(service.forget, key)
        except service.state_errors as error:
            _LOG.error("a user could not be forgotten: %s", error)
            return refusal(503, "the state cannot be written; try again")
        return Response(status_code=204)
