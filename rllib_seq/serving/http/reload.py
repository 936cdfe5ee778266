"""Takes over a new export while requests are answered.

- `watch_export`: the task that does.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import Any

from rllib_seq.errors import UserError
from rllib_seq.serving.exported.loading import load_export
from rllib_seq.serving.exported.spec import SPEC

__all__ = ["watch_export"]

_LOG = logging.getLogger(__name__)
_WATCH_SECONDS = 1.0
_TRIAL_SECONDS = 120.0


async def watch_export(service: Any, reloads: dict[str, int]) -> None:
    """Takes over a new export as soon as it is complete; a bad one changes nothing.

    Args:
        service: that bids.
        reloads: "done" and "refused", counted.
    """
    folder = Path(service.settings.export)
    seen = _stamp(folder)
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        now = _stamp(folder)
        if now is None or now == seen:
            continue
        seen = now
        try:
            service.replace(await _tried(folder))  # between two batches
            reloads["done"] += 1
            _LOG.warning("took over the new export in %s", folder)
        except UserError as error:
            reloads["refused"] += 1
            _LOG.error("the export before it goes on bidding: %s", error)
        except Exception:
            # Whatever a file or the system brings up: the next export must have its chance.
            reloads["refused"] += 1
            _LOG.exception("the export before it goes on bidding")


async def _tried(folder: Path) -> Any:
    """The policy of an export that a process of its own could load.

    Raises:
        UserError: it could not.
    """
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rllib_seq.serving.exported.trial", str(folder)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: v for name, v in os.environ.items() if not name.startswith("RLLIB_SEQ_")},
    )
    try:
        async with asyncio.timeout(_TRIAL_SECONDS):
            said, complained = await child.communicate()
    except TimeoutError:
        raise UserError(f"{str(folder)!r} was not loaded in {_TRIAL_SECONDS:g} seconds") from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode:
        lines = complained.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else "it said nothing"
        if child.returncode < 0:
            why = f"it was ended by signal {-child.returncode}"
        raise UserError(f"a process that loaded {str(folder)!r} failed: {why}")
    policy = await asyncio.to_thread(load_export, folder)
    if policy.spec.model.sha256 != said.decode().strip():
        raise UserError(f"{str(folder)!r} was changed while it was tried; export it again")
    return policy


def _stamp(folder: Path) -> tuple[int, int, int] | None:
    try:
        found = (folder / SPEC).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
