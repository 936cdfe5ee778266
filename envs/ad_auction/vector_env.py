"""The vector adapter: many campaigns in lockstep, one bid request of each per step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.gym_env import AdAuctionEnv, campaign_seed
from rllib_seq.envs.ad_auction.simulator.infos import campaign_infos
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class AdAuctionVectorEnv(VectorEnv[NDArray[np.float32], NDArray[Any], NDArray[Any]]):
    """E campaigns, each bit by bit what an `AdAuctionEnv` of its own would be.

    Seeds are those of `gymnasium.vector.SyncVectorEnv`: campaign `i` begins as
    `AdAuctionEnv.reset(seed=seed + i)`. Autoreset is Gymnasium's next-step mode: after a campaign
    has terminated its next action is ignored and the step returns the first observation of a new
    campaign, reward 0 and no infos.

    Args:
        num_envs: E.
        **config: keys of `AuctionConfig`.

    Examples:
        >>> import gymnasium as gym, rllib_seq.envs.ad_auction
        >>> envs = gym.make_vec("AdAuction-v0", num_envs=3, num_users=4)
        >>> observations, _ = envs.reset(seed=1)
        >>> observations.shape
        (3, 8)
        >>> observations, rewards, *_ = envs.step(envs.action_space.sample())
        >>> rewards.shape
        (3,)
    """

    metadata = {**AdAuctionEnv.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, **config: Any) -> None:
        single = AdAuctionEnv(**config)
        self.num_envs = num_envs
        self.simulator = AuctionSimulator(AuctionConfig.from_dict(config), num_envs)
        self.actions = single.actions
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        self.observation_space = batch_space(single.observation_space, num_envs)
        self.action_space = batch_space(single.action_space, num_envs)
        self._rngs = [seeding.np_random()[0] for _ in range(num_envs)]
        self._over = np.zeros(num_envs, np.bool_)

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Starts all campaigns, or with `options={"reset_mask": bool [E]}` some of them.

        Args:
            seed: of the first campaign, the others count on from it; or one for each.
            options: see above.

        Raises:
            ValueError: the seeds or the mask are not E in number.
        """
        n = self.num_envs
        seeds = (
            [None if seed is None else seed + i for i in range(n)]
            if (seed is None or isinstance(seed, int | np.integer))
            else list(seed)
        )
        mask = np.asarray((options or {}).get("reset_mask", np.ones(n, np.bool_)))
        if len(seeds) != n or mask.shape != (n,) or mask.dtype != np.bool_:
            raise ValueError(
                f"got {len(seeds)} seeds and a {mask.dtype} reset_mask of shape {mask.shape} for "
                f"{n} campaigns; give one seed and one bool for each"
            )
        for i in np.flatnonzero(mask).tolist():
            if seeds[i] is not None:
                self._rngs[i], _ = seeding.np_random(seeds[i])
        self._start(mask)
        return self.simulator.observe(self.simulator.shown()), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[NDArray[np.float32], Floats, Bools, Bools, dict[str, Any]]:
        """Bids on the current request of each campaign.

        Raises:
            ValueError: if the actions are not in the space, one for each campaign.
        """
        if len(actions) != self.num_envs:
            raise ValueError(f"got {len(actions)} actions for {self.num_envs} campaigns")
        simulator, acts = self.simulator, ~self._over
        if self._over.any():
            self._start(self._over)
        rows = simulator.shown()[acts]
        bids, creatives = self.actions.decode(actions[acts], simulator.state.segment[rows])
        outcome = simulator.step(bids, creatives, rows)
        rewards = simulator.take_campaign_rewards()
        self._over = simulator.over.copy()
        infos: dict[str, Any] = {}
        brought = campaign_infos(outcome, simulator.config) if acts.any() else {}
        for name, values in brought.items():
            infos[name] = np.zeros(self.num_envs, values.dtype)
            infos[name][acts] = values
            infos[f"_{name}"] = acts
        never = np.zeros(self.num_envs, np.bool_)
        return simulator.observe(simulator.shown()), rewards, self._over.copy(), never, infos

    def _start(self, mask: Bools) -> None:
        campaigns = np.flatnonzero(mask)
        seeds = [campaign_seed(self._rngs[i]) for i in campaigns.tolist()]
        self.simulator.reset(seeds, campaigns)
        self._over[campaigns] = False
