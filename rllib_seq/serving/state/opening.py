"""Finds the storage of a state.

- `open_storage`: an SQLite file, memory, or Redis.
"""

from __future__ import annotations

from rllib_seq.errors import UserError
from rllib_seq.serving.state.storage import Storage

__all__ = ["open_storage"]


def open_storage(url: str, fingerprint: str, ttl_seconds: float) -> Storage:
    """Opens the state of a server.

    Args:
        url: `redis://HOST:PORT/DB`, the path of an SQLite file, or `:memory:`.
        fingerprint: of the spaces; a state of another kind is refused.
        ttl_seconds: how long a user is remembered.

    Raises:
        UserError: it cannot be opened, or another server or policy has it.
    """
    storage: Storage
    if url.startswith(("redis://", "rediss://")):
        from rllib_seq.serving.state.redis import RedisStorage

        storage = RedisStorage(url, ttl_seconds)
    elif "://" in url:
        raise UserError(f"state {url!r} is neither redis:// nor a file; give one of them")
    else:
        from rllib_seq.serving.state.sqlite import SQLiteStorage

        storage = SQLiteStorage(url)
    found = storage.constant("fingerprint", fingerprint.encode()).decode()
    if found != fingerprint:
        storage.close()
        raise UserError(
            f"state {url!r} belongs to a policy with other spaces; give another --state"
        )
    return storage
