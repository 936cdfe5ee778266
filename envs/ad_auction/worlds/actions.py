"""What an agent's action means: a bid and a creative.

- `Actions`: an action space and how its actions become bids; the same for all adapters.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.worlds.world import Preset

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ACTIONS = ("levels", "levels_and_creatives", "multi_discrete", "continuous")
BID_UNITS = ("campaign", "user")


class Actions:
    """An action space over L bid levels (0 is no bid, see `Preset.bid_levels`) and A creatives.

    | kind | space | meaning |
    | --- | --- | --- |
    | `levels` | `Discrete(L)` | a bid level; always the first creative |
    | `levels_and_creatives` | `Discrete(L * A)` | `level * A + creative` |
    | `multi_discrete` | `MultiDiscrete([L, A])` | a bid level and a creative |
    | `continuous` | `Box(0, 1, [1 + A])`, with one creative `[1]` | the bid, and a score for each
      creative, of which the highest is shown |

    A continuous bid of 0 is no bid; above, 0 to 1 are the lowest to the highest positive level on a
    log scale.

    Args:
        preset: the world.
        kind: one of `ACTIONS`.
        unit: "campaign": levels are bids, the same for all users. "user": they are multipliers of
            what a conversion of this user is worth, which their segment tells.

    Examples:
        >>> from rllib_seq.envs.ad_auction.worlds.presets import PRESETS
        >>> actions = Actions(PRESETS["display"], "multi_discrete")
        >>> actions.space
        MultiDiscrete([17  3])
        >>> bids, creatives = actions.decode(np.array([[16, 2]]), segment=np.array([0]))
        >>> round(float(bids[0]), 3), int(creatives[0])
        (0.498, 2)
    """

    def __init__(self, preset: Preset, kind: str = "levels", unit: str = "campaign") -> None:
        self._kind = kind
        self._levels = preset.bid_levels
        self._creatives = len(preset.users.creatives.names)
        factor = preset.users.audience.value_factor
        self._factor = factor if unit == "user" else np.ones_like(factor)
        levels, creatives = len(self._levels), self._creatives
        self.space: gym.Space[Any]
        if kind == "multi_discrete":
            self.space = gym.spaces.MultiDiscrete([levels, creatives])
        elif kind == "continuous":
            size = 1 if creatives == 1 else 1 + creatives
            self.space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        else:
            self.space = gym.spaces.Discrete(levels if kind == "levels" else levels * creatives)

    def decode(self, actions: NDArray[Any], segment: Ints) -> tuple[Floats, Ints]:
        """Bids in currency units and creatives of `n` users.

        Args:
            actions: `[n]` or `[n, size]`.
            segment: `[n]`, of the users.

        Raises:
            ValueError: an action is not in the space.
        """
        actions = np.asarray(actions)
        self._check(actions)
        creative = np.zeros(len(actions), np.int64)
        if self._kind == "continuous":
            share = actions[:, 0].astype(np.float64)
            low, high = self._levels[1], self._levels[-1]
            bid = np.where(share > 0, low * (high / low) ** share, 0.0)
            if self._creatives > 1:
                creative = actions[:, 1:].argmax(axis=1)
        else:
            level = actions.astype(np.int64)
            if self._kind == "levels_and_creatives":
                level, creative = np.divmod(level, self._creatives)
            elif self._kind == "multi_discrete":
                level, creative = level.T
            bid = self._levels[level]
        return bid * self._factor[segment], creative

    def _check(self, actions: NDArray[Any]) -> None:
        space = self.space
        if isinstance(space, gym.spaces.Box):
            right = actions.shape[1:] == space.shape and bool(
                ((actions >= 0) & (actions <= 1)).all()
            )
        else:
            most = space.nvec if isinstance(space, gym.spaces.MultiDiscrete) else space.n  # type: ignore[attr-defined]
            whole = np.issubdtype(actions.dtype, np.integer) and actions.shape[1:] == space.shape
            right = whole and bool(((actions >= 0) & (actions < most)).all())
        if not right:
            raise ValueError(f"actions are {actions.tolist()}; give actions in {space}")
