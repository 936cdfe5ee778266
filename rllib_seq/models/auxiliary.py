"""Auxiliary heads under RLlib: from the infos into the train batch, and from there into the loss.

- `AuxiliaryLabels`: callbacks of the old API stack that label trajectories; `label_trajectories`
  puts them into a config
- `EpisodeLabels`: learner connector of the new API stack that labels episodes
- `auxiliary_heads`, `auxiliary_losses`: what the models and learners of both share

The loss itself is added by the model's `custom_loss` on the old stack, and by
`rllib_seq.models.auxiliary_learners` on the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.policy.sample_batch import SampleBatch
from torch import Tensor

from rllib_seq.config import AuxiliaryHead, SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.models.event_labels import labels_from_infos
from rllib_seq.models.step_inputs import action_width
from rllib_seq.nn.heads.auxiliary import AuxiliaryHeads, event_loss

AUXILIARY_LOGITS = "auxiliary_logits"


def label_column(name: str) -> str:
    """Return the column of a train batch that holds a head's labels `[..., horizon, 3]`."""
    return f"auxiliary_labels_{name}"


def auxiliary_heads(config: SequenceConfig, action_space: gym.Space) -> AuxiliaryHeads:
    """Return the auxiliary heads of a config, without weights if it asks for none.

    Raises:
        UserError: a head is given the action, and actions of this space cannot be an input.
    """
    given = any(head.given_action for head in config.auxiliary.values())
    action_dim = action_width(action_space) if given else 0
    return AuxiliaryHeads(config.auxiliary, config.d_model, action_dim, config.head_hidden)


def auxiliary_losses(
    heads: Mapping[str, AuxiliaryHead],
    logits: Mapping[str, Tensor],
    labels: Mapping[str, Tensor],
    steps: Tensor | int,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the weighted sum of all heads' losses, and each one's, in nats per step.

    Args:
        heads: by name of the event, at least one.
        logits: by name of the event, `[N, 2 horizon - 1]`.
        labels: by name of the event, `[N, horizon, 3]`.
        steps: real ones among the N.
    """
    losses = {name: event_loss(logits[name], labels[name]) / steps for name in heads}
    total = torch.stack([head.weight * losses[name] for name, head in heads.items()]).sum()
    return total, {f"auxiliary_{name}_loss": loss.detach() for name, loss in losses.items()}


class AuxiliaryLabels(RLlibCallback):
    """Callbacks of the old API stack: labels for the auxiliary heads of "lstm_transformer".

    Callbacks of your own inherit from this class, and call `super()` where they override.

    Examples:
        >>> from ray.rllib.algorithms.ppo import PPOConfig
        >>> config = PPOConfig().callbacks(AuxiliaryLabels)
    """

    def on_postprocess_trajectory(
        self,
        *,
        episode: Any,
        agent_id: Any,
        policy_id: str,
        policies: Mapping[str, Any],
        postprocessed_batch: SampleBatch,
        **kwargs: Any,
    ) -> None:
        """Adds the labels of one agent's trajectory to it; RLlib calls this.

        Raises:
            UserError: see `labels_from_infos`.
        """
        settings = getattr(policies[policy_id].model, "config", None)
        heads = getattr(settings, "auxiliary", {})
        if not heads:
            return
        infos = [*postprocessed_batch[SampleBatch.INFOS], episode.last_info_for(agent_id)]
        ended = bool(postprocessed_batch[SampleBatch.TERMINATEDS][-1])
        for name, labels in labels_from_infos(infos, ended, heads).items():
            postprocessed_batch[label_column(name)] = labels


def label_trajectories(config: AlgorithmConfig) -> None:
    """Put `AuxiliaryLabels` into a config of the old API stack.

    Raises:
        UserError: the config has callbacks of its own that do not inherit from it.
    """
    own = config.callbacks_class
    if own is RLlibCallback:
        config.callbacks(AuxiliaryLabels)
    elif not (isinstance(own, type) and issubclass(own, AuxiliaryLabels)):
        raise UserError(
            f"auxiliary heads need their labels, and the callbacks are {own}; let that class "
            "inherit from rllib_seq.models.AuxiliaryLabels, or remove auxiliary"
        )


class EpisodeLabels(ConnectorV2):
    """Learner connector of the new API stack: labels of every step of the episodes."""

    def __init__(
        self,
        input_observation_space: gym.Space | None = None,
        input_action_space: gym.Space | None = None,
        *,
        heads: Mapping[str, AuxiliaryHead],
    ) -> None:
        """Build the connector.

        Args:
            input_observation_space: RLlib sets it.
            input_action_space: RLlib sets it.
            heads: by name of the event.
        """
        super().__init__(input_observation_space, input_action_space)
        self.heads = heads

    def __call__(
        self, *, batch: dict[str, Any], episodes: list[Any], shared_data: dict, **kwargs: Any
    ) -> dict[str, Any]:
        """Add the columns to `batch`; RLlib calls this.

        Raises:
            UserError: see `labels_from_infos`.
        """
        # RLlib puts a step behind each episode that is none, for the value of what comes next.
        extra = int(shared_data.get("_added_loss_mask_for_valid_episode_ts", False))
        for episode in self.single_agent_episode_iterator(episodes, agents_that_stepped_only=False):
            steps = len(episode)
            infos = episode.get_infos(slice(0, steps - extra + 1))
            labels = labels_from_infos(infos, episode.is_terminated, self.heads)
            for name, rows in labels.items():
                nothing = np.zeros((extra, *rows.shape[1:]), rows.dtype)
                rows = np.concatenate([rows, nothing])
                self.add_n_batch_items(batch, label_column(name), rows, steps, episode)
        return batch
