"""Encoders that a driver registered, in RLlib's workers.

- `share_encoders`: lets Ray carry them, as it carries custom models

A class goes to the workers as a pickle: it must stand in a module that they can import, or in the
script that is run. After `ray.shutdown()` names are forgotten: register once more.
"""

from __future__ import annotations

from ray.tune.registry import RLLIB_MODEL, _global_registry

from rllib_seq.nn import StreamEncoder
from rllib_seq.nn.encoders.registry import share_registrations


def share_encoders() -> None:
    """Publish what is registered here, and look up what is not."""
    share_registrations(_publish, _look_up)


def _publish(name: str, cls: type[StreamEncoder]) -> None:
    if not cls.__module__.startswith("rllib_seq."):  # ours are registered everywhere
        _global_registry.register(RLLIB_MODEL, _key(name), cls)


def _look_up(name: str) -> type[StreamEncoder] | None:
    if not _global_registry.contains(RLLIB_MODEL, _key(name)):
        return None
    return _global_registry.get(RLLIB_MODEL, _key(name))


def _key(name: str) -> str:
    return f"rllib_seq encoder {name}"
