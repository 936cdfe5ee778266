"""The Gymnasium adapter of tick mode: 48 ticks a day, one multiplier per channel.

- `AdCampaignEnv`: `gym.make("AdCampaign-v0")`.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.gym_env import campaign_seed
from rllib_seq.envs.ad_auction.tick.baselines import PacedMultipliers
from rllib_seq.envs.ad_auction.tick.simulator import TickSimulator
from rllib_seq.envs.ad_auction.tick.steering import PER_BUDGET, Steering, fields
from rllib_seq.envs.ad_auction.tick.worlds import TickConfig

__all__ = ["AdCampaignEnv", "fields"]


class AdCampaignEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Paces a budget over a flight: each step sets one multiplier per channel for half an hour.

    Observation: float32 `[6 + 6 C]` in [0, 1], see `steering.fields`. Action: float32 `[C]` in
    [-1, 1], the logarithms of the multipliers to base 8 (`TickWorld.multiplier`): 0 bids the worth
    of a request, -1 an eighth of it. The worth is what an impression may cost: its expected value,
    with a target CPA its conversion probability times the target, with a target ROAS its value over
    the target. With `actions="around_pacing"` the action is relative to the multiplier of the
    world's pacing rule, which one more field shows: 0 is that rule, 1 and -1 are `steering.REACH`
    times more or less. Reward: growth of the score (see `objective.score`), so that the return of
    a flight is its score; see also `TickConfig.reward`. The episode terminates with the flight; the
    hard budget is never exceeded.

    Args:
        **config: keys of `TickConfig`.

    Examples:
        >>> import gymnasium as gym, rllib_seq.envs.ad_auction
        >>> env = gym.make("AdCampaign-v0", requests_per_tick=50)
        >>> observation, info = env.reset(seed=1)
        >>> observation.shape, env.action_space.shape
        ((24,), (3,))
    """

    metadata = {"render_modes": []}

    def __init__(self, render_mode: str | None = None, **config: Any) -> None:
        self.render_mode = render_mode  # tools ask for one whether they draw or not
        settings = TickConfig.from_dict(config)
        self.simulator = TickSimulator(settings)
        world = self.simulator.world
        around = settings.actions == "around_pacing"
        size = len(fields(world.channels, around))
        self.observation_space = gym.spaces.Box(0.0, 1.0, (size,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (len(world.channels),), np.float32)
        self._other: TickSimulator | None = None
        if settings.reward == "over_pacing":
            self._other, self._paced = (
                TickSimulator(settings),
                PacedMultipliers("pacing", world.pacing),
            )

    def render(self) -> None:
        """Raises ValueError: there is no picture of this environment."""
        raise ValueError(f"{type(self).__name__} draws nothing; leave render_mode out")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts a flight; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        return self.begin(np.random.SeedSequence(campaign_seed(self.np_random))), {}

    def begin(self, flight: np.random.SeedSequence) -> NDArray[np.float32]:
        """Starts the flight of this seed; returns the first observation."""
        self.simulator.reset(flight)
        self._steering = Steering(self.simulator)
        if self._other is not None:
            self._other.reset(flight)
            self._paced.start(self._other)
        return self._steering.observe()

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
        outcome = simulator.step(self._steering.bids(action))
        self._steering.update(requests, outcome, action)
        ledger = simulator.ledger
        info = {
            "score": simulator.score,
            "spend": ledger.spend,
            "conversions": ledger.conversions,
            "value": ledger.value,
            "wins": ledger.wins,
        }
        reward = simulator.score - before
        if self._other is not None:
            reward = self._over_pacing(reward)
        return self._steering.observe(), reward, simulator.done, False, info

    def _over_pacing(self, growth: float) -> float:
        other = self._other
        assert other is not None
        before = other.score
        self._paced.update(other.step(self._paced.bids(other.requests)))
        worth = self.simulator.world.goal.unit * (growth - (other.score - before))
        return PER_BUDGET * worth / self.simulator.ledger.budget
