"""The Gymnasium face of tick mode: 48 ticks a day, one multiplier per channel.

- `fields`: name and meaning of every component of the observation.
- `AdCampaignEnv`: `gym.make("AdCampaign-v0")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.gym_env import campaign_seed
from rllib_seq.envs.ad_auction.tick.simulator import Requests, TickOutcome, TickSimulator
from rllib_seq.envs.ad_auction.tick.worlds import TickConfig

__all__ = ["AdCampaignEnv", "fields"]

Floats = NDArray[np.float64]


def fields(channels: Sequence[str]) -> list[tuple[str, str]]:
    """Name and meaning of the components of an observation, in order; all lie in [0, 1].

    `squashed` means x / (1 + x), so 1/2 is where the ratio x is 1; ratios without a denominator
    (nothing won, no target) count as 0.
    """
    return [
        ("flight_left", "share of the flight's ticks that is left"),
        ("traffic_left", "share of the flight's expected requests that is left"),
        ("budget_left", "share of the budget that is left"),
        ("pace", "squashed: spend of the last tick / even pace of what was left before it"),
        ("price", "squashed: spend so far per count / target of the goal"),
        ("requests", "squashed: requests of this tick / mean requests per tick"),
        *((f"share_{c}", f"share of this tick's requests on {c}") for c in channels),
        *(
            (f"worth_{c}", f"squashed: mean worth of this tick's requests on {c} / typical worth")
            for c in channels
        ),
        *((f"won_{c}", f"win rate on {c} in the last tick") for c in channels),
        *(
            (f"paid_{c}", f"squashed: spend / worth of the impressions won on {c} in the last tick")
            for c in channels
        ),
        *(
            (f"to_win_{c}", f"squashed: mean minimum to win / mean worth on {c} in the last tick")
            for c in channels
        ),
        *((f"action_{c}", f"(1 + action on {c} in the last tick) / 2") for c in channels),
    ]


class AdCampaignEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Paces a budget over a flight: each step sets one multiplier per channel for half an hour.

    Observation: float32 `[6 + 6 C]` in [0, 1], see `fields`. Action: float32 `[C]` in [-1, 1], the
    logarithms of the multipliers to base 8 (`TickWorld.multiplier`): 0 bids the worth of a request,
    -1 an eighth of it. The worth is what an impression may cost: its expected value, with a target
    CPA its conversion probability times the target, with a target ROAS its value over the target.
    Reward: growth of the score (see `objective.score`), so that the return of a flight is its
    score. The episode terminates with the flight; the hard budget is never exceeded.

    Args:
        **config: keys of `TickConfig`.

    Example:
        >>> import gymnasium as gym, rllib_seq.envs.ad_auction
        >>> env = gym.make("AdCampaign-v0", requests_per_tick=50)
        >>> observation, info = env.reset(seed=1)
        >>> observation.shape, env.action_space.shape
        ((24,), (3,))
    """

    metadata = {"render_modes": []}

    def __init__(self, render_mode: str | None = None, **config: Any) -> None:
        self.render_mode = render_mode  # tools ask for one whether they draw or not
        self.simulator = TickSimulator(TickConfig.from_dict(config))
        world = self.simulator.world
        self._channels = len(world.channels)
        self._typical_worth = world.typical_worth
        size = len(fields(world.channels))
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (self._channels,), np.float32)

    def render(self) -> None:
        """Raises ValueError: there is no picture of this environment."""
        raise ValueError(f"{type(self).__name__} draws nothing; leave render_mode out")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts a flight; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self.simulator.reset(campaign_seed(self.np_random))
        self._pace = 0.0
        self._last = np.zeros((4, self._channels))  # win rate, paid, to win, action
        return self._observe(), {}

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Bids on the requests of one tick.

        Raises:
            ValueError: if the action is not in the action space.
        """
        if not self.action_space.contains(action):
            raise ValueError(f"action is {action!r}; give one in {self.action_space}")
        simulator = self.simulator
        requests, before = simulator.requests, simulator.score
        remaining, planned = simulator.ledger.remaining, simulator.planned
        multiplier = simulator.world.multiplier(action)
        outcome = simulator.step(multiplier[requests.channel] * requests.worth)

        plan = planned[simulator.tick - 1 : simulator.tick + 1]
        even = remaining * (plan[1] - plan[0]) / (1.0 - plan[0])
        self._pace = _ratio(outcome.paid.sum(), even)
        self._remember(requests, outcome, action)
        ledger = simulator.ledger
        info = {
            "score": simulator.score,
            "spend": ledger.spend,
            "conversions": ledger.conversions,
            "value": ledger.value,
            "wins": ledger.wins,
        }
        return self._observe(), simulator.score - before, simulator.done, False, info

    def _remember(
        self, requests: Requests, outcome: TickOutcome, action: NDArray[np.float32]
    ) -> None:
        def total(what: Floats) -> Any:
            return np.bincount(requests.channel, what, self._channels)

        won = outcome.won.astype(np.float64)
        win_rate = _ratio(total(won), total(np.ones(len(won))))
        paid = _squash(total(outcome.paid), total(won * requests.worth))
        to_win = _squash(total(outcome.to_win), total(requests.worth))
        self._last = np.stack([win_rate, paid, to_win, (1.0 + action) / 2])

    def _observe(self) -> NDArray[np.float32]:
        simulator = self.simulator
        ledger, goal, requests = simulator.ledger, simulator.world.goal, simulator.requests
        count = goal.count(np.asarray(ledger.conversions), np.asarray(ledger.value))
        allowed = goal.price * count if np.isfinite(goal.price) else 0.0
        number = np.bincount(requests.channel, minlength=self._channels)
        worth = np.bincount(requests.channel, requests.worth, self._channels)
        mean = simulator.config.requests_per_tick
        whole = [
            1.0 - simulator.tick / simulator.num_ticks,
            1.0 - simulator.planned[simulator.tick],
            ledger.budget_left,
            _squash(self._pace, 1.0),
            _squash(ledger.spend, allowed),
            _squash(len(requests.worth), mean),
        ]
        now = [_ratio(number, number.sum()), _squash(worth, number * self._typical_worth)]
        observation = np.concatenate([whole, *now, *self._last])
        return np.clip(observation, 0.0, 1.0).astype(np.float32)  # rounding alone


def _ratio(part: Any, whole: Any) -> Any:
    """Part / whole, 0 where the whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), 0.0)


def _squash(part: Any, whole: Any) -> Any:
    """Part / (whole + part), that is x / (1 + x) of x = part / whole; 0 where the whole is 0."""
    whole = np.asarray(whole, np.float64)
    return np.where(whole > 0, part / np.where(whole > 0, whole + part, 1.0), 0.0)
