"""Whether a server can do its work.

- `Health`: looks.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel

from rllib_seq.serving.http.bids.batching import Batcher

__all__ = ["Health", "Healthy"]

_SECONDS = 1.0  # until it looks again: anyone who asks may ask often
_PATIENCE_SECONDS = 2.0


class Healthy(BaseModel):
    """What `/healthz` answers."""

    status: str
    """"ok", or what is wrong."""
    model: str
    """First letters of the SHA-256 of the model that bids."""


class Health:
    """Looks whether the state can be written and what runs in the background still runs.

    Args:
        service: that bids.
        batcher: in front of it.
        watching: the task that takes over new exports.
    """

    def __init__(self, service: Any, batcher: Batcher, watching: asyncio.Task[Any]) -> None:
        self._service, self._batcher, self._watching = service, batcher, watching
        self._status, self._until = "ok", 0.0
        self._turn = asyncio.Lock()

    async def look(self) -> Healthy:
        """What is wrong, if anything is."""
        async with self._turn:
            if time.monotonic() >= self._until:
                self._status = await self._looked()
                self._until = time.monotonic() + _SECONDS
        return Healthy(status=self._status, model=self._service.policy.spec.model.sha256[:12])

    async def _looked(self) -> str:
        if self._watching.done():
            return "new exports are no longer taken over; see the log, and start the server again"
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._batcher.call(self._service.check_state)
        except TimeoutError:
            return "the state does not answer"
        except self._service.state_errors as error:
            return f"the state cannot be written: {error}"
        return "ok"
