"""Environment runners that step the ad auction as arrays, for RLlib's new API stack.

- `ArrayEnvRunner`: plugged in by `config.env_runners(env_runner_cls=ArrayEnvRunner)`
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer
from ray.rllib.utils.metrics import (
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
)

from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.errors import UserError
from rllib_seq.models import SequenceRLModule
from rllib_seq.models.rl_module.configure import module_windows, sequence_settings
from rllib_seq.models.rl_module.episode_states import keep_states
from rllib_seq.models.rl_module.stream_columns import StreamColumns
from rllib_seq.models.rl_module.stream_windows import StreamWindows
from rllib_seq.rollouts.callbacks import refuse_callbacks
from rllib_seq.rollouts.memories import COPY, CarriedStates
from rllib_seq.rollouts.sampler import ActionBatch, Campaign, RolloutBatch, VectorSampler
from rllib_seq.rollouts.worker import FaultReportingMultiAgentEnvRunner

__all__ = ["ArrayEnvRunner"]

Array = NDArray[Any]
Ints = NDArray[np.int64]


class ArrayEnvRunner(FaultReportingMultiAgentEnvRunner):
    """RLlib's multi-agent runner with another way to play, for `multi_user_ad_auction`.

    It plays `num_envs_per_env_runner` campaigns side by side, to their ends, and returns each as a
    MultiAgentEpisode like those of RLlib's runner; any algorithm can learn from them.

    Raises:
        UserError: the environment is another, there are several modules, or one with a state that
            is not ours.
    """

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        if self.env is None:  # a runner without an environment only holds the weights
            return
        env = self.env.envs[0].unwrapped
        if not isinstance(env, MultiUserAdAuctionEnv):
            raise UserError(
                f"ArrayEnvRunner plays multi_user_ad_auction, not {type(env).__name__}; remove "
                "env_runner_cls from the config"
            )
        names = list(self.module.keys())
        foreign = [
            name
            for name in names
            if self.module[name].is_stateful()
            and not isinstance(self.module[name], SequenceRLModule)
        ]
        if len(names) != 1 or foreign:
            raise UserError(
                f"ArrayEnvRunner plays one module, and no recurrent one but ours; this config has "
                f"{names}; remove env_runner_cls from it"
            )
        if self.config.batch_mode != "complete_episodes":
            raise UserError(
                "ArrayEnvRunner plays campaigns to their ends; set batch_mode='complete_episodes' "
                "(use_sequence_module does), or remove env_runner_cls from the config"
            )
        self._name, self._env = names[0], env
        refuse_callbacks(self.config, "ArrayEnvRunner")
        seed = None if self.config.seed is None else self.config.seed + (self.worker_index or 0)
        self._sampler = VectorSampler(env.array_env(self.num_envs, seed))
        settings = sequence_settings(self.module[names[0]])
        self._sampler.with_infos = settings is not None and bool(settings.auxiliary)
        rows = self.num_envs * self._sampler.env.slots
        drawn = [piece for piece in self._env_to_module if isinstance(piece, StreamColumns)]
        self._bidder = _ModuleBidder(self.module[self._name], rows, drawn)

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[MultiAgentEpisode]:
        episodes: list[MultiAgentEpisode] = []
        ticks = 0
        self._bidder.module = self.module[self._name]
        self._bidder.explore = None if random_actions else explore
        while (num_timesteps is not None and ticks < num_timesteps) or (
            num_timesteps is None and len(episodes) < (num_episodes or self.num_envs)
        ):
            self._bidder.step = self.num_env_steps_sampled_lifetime * max(
                1, self.config.num_env_runners
            )
            self._bidder.begin()
            journeys = self._sampler.sample_campaigns(self._bidder)
            campaigns, self._sampler.campaigns = self._sampler.campaigns, []
            played = self._episodes(journeys, campaigns)
            self._count(journeys.ticks, int(journeys.lengths.sum()), len(campaigns))
            ticks += journeys.ticks
            episodes += played
        self._done_episodes_for_metrics.extend(episodes)
        for index, episode in enumerate(episodes):
            make_callback(
                "on_episode_end",
                callbacks_objects=self._callbacks,
                callbacks_functions=self.config.callbacks_on_episode_end,
                kwargs={
                    "episode": episode,
                    "env_runner": self,
                    "metrics_logger": self.metrics,
                    "env": self.env,
                    "rl_module": self.module,
                    "env_index": index % self.num_envs,
                },
            )
        return episodes

    def _episodes(
        self, journeys: RolloutBatch, campaigns: list[Campaign]
    ) -> list[MultiAgentEpisode]:
        """One episode for every campaign, made of arrays."""
        slots = self._sampler.env.slots
        ends = np.cumsum(journeys.lengths)
        columns = dict(journeys.columns)
        observations, actions = columns.pop("obs"), columns.pop("actions")
        rewards = columns.pop("rewards")
        copies = columns.pop(COPY, None)
        episodes = []
        for campaign in campaigns:
            episode = MultiAgentEpisode(
                observation_space=self._env.observation_spaces,
                action_space=self._env.action_spaces,
                agent_to_module_mapping_fn=self.config.policy_mapping_fn,
            )
            for piece in np.flatnonzero(journeys.rows // slots == campaign.number):
                agent = self._env.possible_agents[journeys.rows[piece] % slots]
                steps = slice(ends[piece] - journeys.lengths[piece], ends[piece])
                seen = np.concatenate(
                    [observations[steps], journeys.next_observations[piece : piece + 1]]
                )
                episode.agent_episodes[agent] = SingleAgentEpisode(
                    agent_id=agent,
                    module_id=self._name,
                    multi_agent_episode_id=episode.id_,
                    observations=_buffer(seen, self._env.observation_spaces[agent]),
                    actions=_buffer(actions[steps], self._env.action_spaces[agent]),
                    rewards=_buffer(rewards[steps]),
                    infos=_infos(journeys, steps),
                    extra_model_outputs={
                        name: _buffer(column[steps]) for name, column in columns.items()
                    },
                    observation_space=self._env.observation_spaces[agent],
                    action_space=self._env.action_spaces[agent],
                    terminated=True,
                    len_lookback_buffer=0,
                )
                if copies is not None:
                    states = self._bidder.states(copies[steps])
                    # What comes after the last step is not valued: the journey is over.
                    keep_states(episode.agent_episodes[agent], states, states[-1])
                episode._agent_to_module_mapping[agent] = self._name
            episode.env_t, episode.is_terminated = campaign.ticks, True
            episodes.append(episode)
        return episodes

    def _count(self, ticks: int, steps: int, campaigns: int) -> None:
        """What RLlib's runner counts step by step; all agents in one."""
        counts = {
            (NUM_ENV_STEPS_SAMPLED, NUM_ENV_STEPS_SAMPLED_LIFETIME): ticks,
            (NUM_EPISODES, NUM_EPISODES_LIFETIME): campaigns,
        }
        for (now, lifetime), count in counts.items():
            self.metrics.log_value(now, count, reduce="sum")
            self.metrics.log_value(
                lifetime,
                count,
                reduce="lifetime_sum",
                with_throughput=lifetime == NUM_ENV_STEPS_SAMPLED_LIFETIME,
            )
        for (now, lifetime), who in {
            (NUM_MODULE_STEPS_SAMPLED, NUM_MODULE_STEPS_SAMPLED_LIFETIME): self._name,
            (NUM_AGENT_STEPS_SAMPLED, NUM_AGENT_STEPS_SAMPLED_LIFETIME): "users",
        }.items():
            self.metrics.log_value((now, who), steps, reduce="sum")
            self.metrics.log_value((lifetime, who), steps, reduce="lifetime_sum")


def _infos(journeys: RolloutBatch, steps: slice) -> list[dict[str, Any]]:
    """Those of an episode: none with the first observation, then what each step brought."""
    infos = journeys.infos
    brought = [infos[name][steps].tolist() for name in infos]
    if not brought:
        return [{}] * (steps.stop - steps.start + 1)
    return [{}, *(dict(zip(infos, row, strict=True)) for row in zip(*brought, strict=True))]


def _buffer(rows: Array, space: Any = None) -> InfiniteLookbackBuffer:
    return InfiniteLookbackBuffer(data=rows, lookback=0, space=space)


class _ModuleBidder:
    """Acts for many users at once with a module, and keeps the window or the state of each."""

    def __init__(self, module: Any, rows: int, drawn: list[StreamColumns]) -> None:
        self.module = module
        self.explore: bool | None = True
        """None acts at random."""
        self.step = 0
        self._drawn = drawn
        self._kept: dict[str, Array] = {}
        settings = module_windows(module)
        self._carried: CarriedStates | None = None
        if module.is_stateful():
            longest = module.model_config["max_seq_len"]
            self._carried = CarriedStates(module.get_initial_state(), rows, longest)
        self._windows = None
        if settings is not None:
            self._windows = StreamWindows(
                rows, module.observation_space, module.action_space, settings
            )
        assert isinstance(module.action_space, Discrete)
        self._actions = np.zeros(rows, np.int64)

    def begin(self) -> None:
        """Let new campaigns begin."""
        if self._carried is not None:
            self._carried.restart()

    def states(self, copies: Ints) -> list[dict[str, Array]]:
        """Return the states in which the sequences of a journey begin.

        Args:
            copies: column `COPY` of its steps, `[n]`.
        """
        assert self._carried is not None
        numbers = copies[copies >= 0]
        parts = self._carried.copies(numbers)
        return [{name: part[row] for name, part in parts.items()} for row in range(len(numbers))]

    def __call__(self, rows: Ints, new: Array, observations: Array, rewards: Array) -> ActionBatch:
        fresh = rows[new]
        if self._windows is None:
            batch: dict[str, Array] = {Columns.OBS: observations}
        else:
            self._windows.restart(fresh)
            batch = self._windows.push(rows, observations, self._actions[rows], rewards)
        for piece in self._drawn:
            for name, column in piece.draw(len(fresh)).items():
                kept = self._kept.setdefault(name, np.zeros(len(self._actions), column.dtype))
                kept[fresh] = column
                batch[name] = kept[rows]
        if self.explore is None:
            return ActionBatch(np.random.randint(self.module.action_space.n, size=len(rows)), {})
        tensors = {name: torch.as_tensor(column) for name, column in batch.items()}
        with torch.no_grad():
            if self._carried is None:
                actions, columns = self._act(self._forward(tensors))
            else:
                who, first = torch.from_numpy(rows), torch.from_numpy(new)
                tensors = {name: column[:, None] for name, column in tensors.items()}  # (n, 1, ..)
                before, copies = self._carried.before(who, first)
                outputs = self._forward({**tensors, Columns.STATE_IN: before})
                self._carried.set(who, outputs.pop(Columns.STATE_OUT))
                actions, columns = self._act({k: v.squeeze(1) for k, v in outputs.items()})
                columns[COPY] = copies
        self._actions[rows] = actions
        return ActionBatch(actions, columns)

    def value_after(self, rows: Ints, observations: Array, rewards: Array) -> Array:
        """See `sampler.StreamActor`; on this stack the learner values what it gets."""
        return np.zeros(len(rows))

    def _forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        if self.explore:
            return self.module.forward_exploration(batch, t=self.step)
        return self.module.forward_inference(batch)

    def _act(self, outputs: dict[str, Any]) -> tuple[Ints, dict[str, Array]]:
        module = self.module
        if Columns.ACTIONS in outputs:
            return outputs[Columns.ACTIONS].numpy(), {}
        logits = outputs[Columns.ACTION_DIST_INPUTS]
        distribution = module.get_exploration_action_dist_cls().from_logits(logits)
        if not self.explore:
            distribution = distribution.to_deterministic()
        actions = distribution.sample()
        columns = {Columns.ACTION_DIST_INPUTS: logits.numpy()}
        if self.explore:
            columns[Columns.ACTION_LOGP] = distribution.logp(actions).numpy()
        return actions.numpy(), columns
