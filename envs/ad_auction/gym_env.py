"""The Gymnasium adapter: one campaign, one bid request per step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.rendering.render import RENDER_FPS, Screen, draw
from rllib_seq.envs.ad_auction.simulator.infos import campaign_infos
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import EVENT_REWARDS, AuctionConfig


class AdAuctionEnv(gym.Env[NDArray[np.float32], Any]):
    """Bids on the requests of one campaign in the order in which they come (`stream="campaign"`).

    Observation: float32 `[D]`, see `features.fields`. Action: a bid level, 0 is no bid, or what the
    config's `actions` says, see `actions.Actions`. Reward: value of the conversions that have
    happened since the last step minus (1 + shadow price) * what was paid, in currency units. The
    episode terminates with the last journey. Infos: what the request brought, see
    `infos.campaign_infos`.

    Args:
        render_mode: "rgb_array": `render` gives a picture of the campaign, uint8 `[600, 720, 3]`;
            "human": a window shows it. Both need `reward="sampled"`.
        **config: keys of `AuctionConfig`.

    Examples:
        >>> import gymnasium as gym, rllib_seq.envs.ad_auction
        >>> env = gym.make("AdAuction-v0", num_users=4)
        >>> observation, info = env.reset(seed=1)
        >>> observation.shape, int(env.action_space.n)
        ((8,), 17)
    """

    metadata = {"render_modes": ["rgb_array", "human"], "render_fps": RENDER_FPS}

    def __init__(self, render_mode: str | None = None, **config: Any) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            modes = ", ".join(self.metadata["render_modes"])
            raise ValueError(f"unknown render_mode {render_mode!r}; choose one of: {modes}")
        self.render_mode = render_mode
        self._window: Screen | None = None
        world = AuctionConfig.from_dict(config)
        # Tools ask for a render mode whether they draw or not, so `render` refuses, not this.
        self._recorded = render_mode is not None and world.reward in EVENT_REWARDS
        self.simulator = AuctionSimulator(world, record=self._recorded)
        self.actions = self.simulator.config.build_actions(self.simulator.preset)
        self.observation_space = self.simulator.observation_space
        self.action_space = self.actions.space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts a campaign; see `gymnasium.Env.reset`."""
        super().reset(seed=seed)
        self.simulator.reset(campaign_seed(self.np_random))
        self._show()
        return self._observe(), {}

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Bids on the current request.

        Raises:
            ValueError: if the action is not in the space.
        """
        simulator = self.simulator
        segment = simulator.state.segment[simulator.shown()]
        bids, creatives = self.actions.decode(np.asarray(action)[None], segment)
        outcome = simulator.step(bids, creatives)
        reward = float(simulator.take_campaign_rewards()[0])
        brought = campaign_infos(outcome, simulator.config)
        info = {name: rows[0].item() for name, rows in brought.items()}
        self._show()
        return self._observe(), reward, simulator.done, False, info

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """Spend against plan, bids against market prices, and the journeys of the last users.

        Raises:
            ValueError: the reward is one without events.
        """
        return self._drawn() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Closes the window."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def _show(self) -> None:
        if self.render_mode != "human":
            return
        if self._window is None:
            self._window = Screen()
        if self._window.due or self.simulator.done:
            self._window.show(self._drawn())

    def _drawn(self) -> NDArray[np.uint8]:
        if not self._recorded:
            raise ValueError(
                f"reward is {self.simulator.config.reward!r}, which has no events to draw; give "
                f"one of: {', '.join(EVENT_REWARDS)}"
            )
        return draw(self.simulator)

    def _observe(self) -> NDArray[np.float32]:
        return self.simulator.observe(self.simulator.shown())[0]


def campaign_seed(rng: np.random.Generator) -> int:
    """The seed of the next campaign of an environment that has been seeded once."""
    return int(rng.integers(2**63))
