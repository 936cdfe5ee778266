"""Counter-based random numbers: looked up by address, not drawn in turn.

Every uniform has an address: campaign, purpose, user, request. What a policy does can therefore
never change what any other draw will be, users can come one after the other without tables of what
is still to happen, and campaigns that run side by side draw what each would draw alone.

- `purpose_keys`: the keys of one campaign, a word of its SeedSequence per purpose.
- `uniforms`: the numbers at many addresses at once.
- `categorical`: uniforms to categories.

The numbers are those of SplitMix64 (Steele, Lea and Flood, 2014), which can jump: the k-th number
of a stream is a mix of seed + k * gamma. A purpose's key seeds a stream of users, whose numbers
seed their streams of requests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]
Seed = int | np.random.SeedSequence

_GAMMA = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = (np.uint64(shift) for shift in (30, 27, 31, 11))
_ULP = 2.0**-53


def purpose_keys(seed: Seed, purposes: int) -> Words:
    """Keys of a campaign, `[purposes]`; more purposes leave the first ones as they are."""
    if not isinstance(seed, np.random.SeedSequence):
        seed = np.random.SeedSequence(seed)
    return seed.generate_state(purposes, np.uint64).astype(np.uint64)


def uniforms(keys: Words, user: Ints, request: Ints) -> Floats:
    """Uniforms in `[0, 1)`, a pure function of its arguments.

    Args:
        keys: `[P, n]` or `[P, 1]`, keys of P purposes.
        user: `[n]`, number of the user within their campaign.
        request: `[n]` or `[P, n]`, number of the request within their journey.

    Returns:
        `[P, n]`.

    >>> uniforms(purpose_keys(1, 2)[:, None], np.array([5]), np.array([0])).shape
    (2, 1)
    """
    stream = _mix(keys + user.astype(np.uint64) * _GAMMA)
    word = _mix(stream + request.astype(np.uint64) * _GAMMA)
    return (word >> _S11).astype(np.float64) * _ULP


def _mix(word: Words) -> Words:
    """The finalizer of SplitMix64, in place."""
    word ^= word >> _S30
    word *= _FIRST
    word ^= word >> _S27
    word *= _SECOND
    word ^= word >> _S31
    return word


def categorical(share: Floats, uniform: Floats) -> Ints:
    """Index of the category in which each uniform falls.

    Args:
        share: `[C]`, or `[n, C]` for each its own.
        uniform: `[n]`.
    """
    edges = np.cumsum(share, axis=-1)[..., :-1]
    return (uniform[:, None] >= edges).sum(axis=1)
