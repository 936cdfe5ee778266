"""RLlib's callbacks under array rollouts, which have no step of a single user.

- `refuse_callbacks`: those that could not be called
- `CampaignEpisode`: what `on_episode_end` gets on the old API stack
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.utils import force_list

from rllib_seq.errors import UserError
from rllib_seq.models import AuxiliaryLabels
from rllib_seq.rollouts.sampler import Campaign

_NEVER_CALLED = (
    "on_episode_created",
    "on_episode_start",
    "on_episode_step",
    "on_postprocess_trajectory",
)


@dataclass
class CampaignEpisode:
    """A campaign that ended, by the names that RLlib's EpisodeV2 has for it.

    What callbacks put into the three dicts at its end is reported as usual.
    """

    episode_id: int
    length: int
    """Forward passes in which some users acted."""
    total_reward: float
    agent_rewards: dict[tuple[str, str], float]
    """By user and policy."""
    user_data: dict[str, Any] = field(default_factory=dict)
    custom_metrics: dict[str, float] = field(default_factory=dict)
    hist_data: dict[str, list[float]] = field(default_factory=dict)
    media: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, campaign: Campaign, number: int, policy: str, names: Sequence[str]
    ) -> CampaignEpisode:
        """Return the episode of a campaign, whose agents have these names."""
        agents = {
            (name, policy): profit
            for name, profit in zip(names, campaign.per_user.tolist(), strict=True)
        }
        return cls(number, campaign.ticks, campaign.profit, agents)


def refuse_callbacks(config: AlgorithmConfig, worker: str) -> None:
    """Refuse callbacks of episodes that are never called, rather than to leave them out silently.

    Args:
        config: of the algorithm.
        worker: name of the class that plays.

    Raises:
        UserError: naming the callback.
    """
    for name in _NEVER_CALLED:
        functions = force_list(getattr(config, f"callbacks_{name}", None))
        classes = [
            callbacks
            for callbacks in _plain(force_list(config.callbacks_class))
            if getattr(callbacks, name)
            not in (getattr(RLlibCallback, name), getattr(AuxiliaryLabels, name))
        ]
        if functions or classes:
            where = classes[0].__name__ if classes else "the config"
            raise UserError(
                f"{worker} plays all users at once and never calls {name}, which {where} defines; "
                "use on_episode_end or on_sample_end, or remove env_runner_cls from the config"
            )


def _plain(callbacks: Iterable[Any]) -> Iterator[type]:
    """The classes that a user gave, also if RLlib has put several into one."""
    for found in callbacks:
        if getattr(found, "IS_CALLBACK_CONTAINER", False):
            yield from (type(part) for part in found()._callback_list)
        else:
            yield found
