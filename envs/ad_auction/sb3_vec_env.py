"""Stable-Baselines3 on the fast vector environment.

- `sb3_vec_env`: many campaigns in lockstep as sb3's `VecEnv`

Importing this module needs no sb3; calling the function needs `pip install "rllib-seq[sb3]"`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rllib_seq.envs.ad_auction.vector_env import AdAuctionVectorEnv

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


def sb3_vec_env(num_envs: int = 8, **config: Any) -> VecEnv:
    """Build campaigns for Stable-Baselines3; each is what `gym.make("AdAuction-v0")` would be.

    A campaign that has ended starts again in the same step; its last observation is in the infos
    as `terminal_observation`. Wrap it in sb3's `VecMonitor` to log returns. The campaign is the
    stream: one observation is one request of any of its users. With `num_users=1` the only user
    is the stream.

    Args:
        num_envs: campaigns.
        **config: keys of `AuctionConfig`.

    Raises:
        ModuleNotFoundError: sb3 is not installed.
        ValueError: a key or a value of the config is wrong.

    Examples:
        >>> from stable_baselines3 import PPO  # doctest: +SKIP
        >>> envs = sb3_vec_env(64, num_users=16)  # doctest: +SKIP
        >>> PPO("MlpPolicy", envs).learn(100_000)  # doctest: +SKIP
    """
    try:
        from stable_baselines3.common.vec_env import VecEnv
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'sb3_vec_env needs Stable-Baselines3; pip install "rllib-seq[sb3]"', name=error.name
        ) from None

    class AdAuctionVecEnv(VecEnv):
        """`AdAuctionVectorEnv` with sb3's manners."""

        def __init__(self) -> None:
            self.envs = AdAuctionVectorEnv(num_envs, **config)
            spaces = self.envs.single_observation_space, self.envs.single_action_space
            super().__init__(num_envs, *spaces)

        def reset(self) -> Any:
            observations, _ = self.envs.reset(seed=self._seeds)
            self._reset_seeds()
            self._reset_options()
            return observations

        def step_async(self, actions: np.ndarray) -> None:
            self._actions = actions

        def step_wait(self) -> Any:
            observations, rewards, ended, _, brought = self.envs.step(self._actions)
            names = [name for name in brought if not name.startswith("_")]
            infos: list[dict[str, Any]] = [
                {name: brought[name][i] for name in names if brought[f"_{name}"][i]}
                for i in range(num_envs)
            ]
            if ended.any():
                for i in np.flatnonzero(ended):
                    infos[i]["terminal_observation"] = observations[i].copy()
                observations, _ = self.envs.reset(options={"reset_mask": ended})
            return observations, rewards.astype(np.float32), ended, infos

        def close(self) -> None:
            self.envs.close()

        def _chosen(self, indices: int | Iterable[int] | None) -> Sequence[int]:
            return list(self._get_indices(indices))

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(self.envs, attr_name) for _ in self._chosen(indices)]

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError("campaigns in lockstep share their settings; build new ones")

        def env_method(
            self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
        ) -> list[Any]:
            raise NotImplementedError("campaigns in lockstep have no methods of their own")

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False for _ in self._chosen(indices)]

    return AdAuctionVecEnv()
