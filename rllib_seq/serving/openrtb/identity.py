"""Who the user of a request is.

- `user_key`: what stands for a user.
"""

from __future__ import annotations

import hashlib

__all__ = ["user_key"]


def user_key(name: str, secret: str | None) -> int:
    """What stands for a user id, 64 bits: a keyed hash, from which nobody gets the id back.

    Two of a million users share a key with a chance of 3e-8.

    Args:
        name: the id.
        secret: the key, any length; None: everybody who guesses an id can check the guess.
    """
    key = b"" if secret is None else hashlib.blake2b(secret.encode()).digest()
    digest = hashlib.blake2b(name.encode(), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
