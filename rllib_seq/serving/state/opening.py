"""Finds the storage of a state.

- `open_storage`: an SQLite file, memory, or Redis.
- `opened_books`: for their keeper, without a policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rllib_seq.errors import UserError
from rllib_seq.serving.credentials import without_password
from rllib_seq.serving.state.storage import Storage

_KEPT_SECONDS = 30 * 86_400.0  # of users, whom the keeper of the books does not touch


def open_storage(
    url: str, fingerprint: str | None, ttl_seconds: float, make: bool = True
) -> Storage:
    """Opens the state of a server.

    Args:
        url: `redis://HOST:PORT/DB`, the path of an SQLite file, or `:memory:`.
        fingerprint: of the spaces; a state of another kind is refused. None: any will do.
        ttl_seconds: how long a user is remembered.
        make: whether a file may be made.

    Raises:
        UserError: it cannot be opened, or another server or policy has it.
    """
    storage: Storage
    if url.startswith(("redis://", "rediss://")):
        from rllib_seq.serving.state.redis import RedisStorage

        storage = RedisStorage(url, ttl_seconds)
    elif "://" in url:
        raise UserError(
            f"state {without_password(url)!r} is neither redis:// nor a file; give one of them"
        )
    else:
        from rllib_seq.serving.state.sqlite import SQLiteStorage

        storage = SQLiteStorage(url, make)
    if fingerprint is None:
        return storage
    found = storage.constant("fingerprint", fingerprint.encode()).decode()
    if found != fingerprint:
        storage.close()
        raise UserError(
            f"state {without_password(url)!r} belongs to a policy with other spaces, to another "
            "--cap or to another version; give these, or another --state"
        )
    return storage


@contextmanager
def opened_books(url: str) -> Iterator[Storage]:
    """The state of a campaign that was served, for as long as it is looked at.

    Raises:
        UserError: there is none, or a server has it.
    """
    storage = open_storage(url, None, _KEPT_SECONDS, make=False)
    try:
        if not storage.known_constant("fingerprint"):
            raise UserError(
                f"state {without_password(url)!r} holds no campaign; give the --state of a server"
            )
        yield storage
    finally:
        storage.close()
