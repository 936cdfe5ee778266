"""Environment runners that step environments as arrays, for RLlib's new API stack.

- `ArrayEnvRunner`: plugged in by `config.env_runners(env_runner_cls=ArrayEnvRunner)`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.rllib.callbacks.utils import make_callback
from ray.rllib.connectors.common import (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    NumpyToTensor,
)
from ray.rllib.connectors.common.flatten_observations import FlattenObservations
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
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

from rllib_seq.envs.array_env import ArrayEnv
from rllib_seq.errors import UserError
from rllib_seq.models.rl_module.configure import OurConnectors, sequence_settings
from rllib_seq.models.rl_module.connectors import EpisodeWindows, FlattenSteps, StreamColumns
from rllib_seq.models.rl_module.episode_states import StatesIn
from rllib_seq.rollouts.acting.module_actor import ModuleActor
from rllib_seq.rollouts.callbacks import refuse_callbacks
from rllib_seq.rollouts.checks import CheckedArrays
from rllib_seq.rollouts.episodes import EpisodeChunks, campaign_episodes
from rllib_seq.rollouts.filters import FilteredArrays
from rllib_seq.rollouts.gym_arrays import InfoArrays, arrays_of_agents, one_line
from rllib_seq.rollouts.sampler import VectorSampler
from rllib_seq.rollouts.worker import FaultReportingSingleAgentEnvRunner, name_environments

__all__ = ["ArrayEnvRunner"]

# What connectors before the module do, done here for all streams at once.
_DONE_HERE = (
    AddObservationsFromEpisodesToBatch,
    AddStatesFromEpisodesToBatch,
    AddTimeDimToBatchAndZeroPad,
    AgentToModuleMapping,
    BatchIndividualItems,
    EpisodeWindows,
    FlattenObservations,
    FlattenSteps,
    MeanStdFilter,
    NumpyToTensor,
    StatesIn,
    StreamColumns,
)


def _either(name: str) -> Callable[..., Any]:
    """A method that RLlib has twice: for one agent, and for several."""
    single, several = getattr(SingleAgentEnvRunner, name), getattr(MultiAgentEnvRunner, name)

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return (several if self.config.is_multi_agent else single)(self, *args, **kwargs)

    method.__doc__ = f"See RLlib's runners: `{name}`."
    return method


class ArrayEnvRunner(FaultReportingSingleAgentEnvRunner):
    """RLlib's environment runner with another way to play.

    For any Gymnasium environment (its vector form is chosen by `gym_env_vectorize_mode`), whose
    episodes it cuts as RLlib's runner does, and for multi-agent environments with a method
    `array_env`, such as `multi_user_ad_auction` and `shared_market_auction`, which it plays to
    their ends. One forward pass acts for all streams that have to act. Episodes are those that
    RLlib's runner would return, so any algorithm can learn from them.

    Raises:
        UserError: the environment cannot be stepped as arrays, a connector of the config cannot be
            applied to arrays, or there are several modules.
    """

    def __init__(self, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        if self.env is None:  # a runner without an environment only holds the weights
            return
        self._refuse()
        refuse_callbacks(self.config, "ArrayEnvRunner")
        self._prepare()

    make_module = _either("make_module")
    get_spaces = _either("get_spaces")
    get_metrics = _either("get_metrics")
    set_state = _either("set_state")
    assert_healthy = _either("assert_healthy")
    _log_episode_metrics = _either("_log_episode_metrics")

    def make_env(self) -> None:
        """Build the environments; see RLlib."""
        _either("make_env")(self)
        name_environments(self)
        if getattr(self, "module", None) is not None:  # built again
            self._prepare()

    def _refuse(self) -> None:
        """Refuse what cannot be played as arrays."""
        for piece in self._env_to_module:
            if not isinstance(piece, _DONE_HERE):
                raise UserError(
                    f"ArrayEnvRunner cannot apply connector {type(piece).__name__}, which reads "
                    "single episodes; change observations in the environment (a gymnasium "
                    "wrapper), or remove env_runner_cls from the config"
                )
        after = self.config._module_to_env_connector
        if after is not None and not isinstance(after, OurConnectors):
            raise UserError(
                "ArrayEnvRunner cannot apply a module_to_env_connector, which reads single "
                "episodes; remove it, or env_runner_cls, from the config"
            )
        if self.config.is_multi_agent and self.config.batch_mode != "complete_episodes":
            raise UserError(
                "ArrayEnvRunner plays episodes of several agents to their ends; set "
                "batch_mode='complete_episodes' (use_sequence_module does), or remove "
                "env_runner_cls from the config"
            )

    @property
    def module_to_act(self) -> Any:
        """The module that acts for all streams.

        Raises:
            UserError: there are several.
        """
        if not self.config.is_multi_agent:
            return self.module
        names = list(self.module.keys())
        if len(names) != 1:
            raise UserError(
                f"ArrayEnvRunner plays one module for all agents, and this config has {names}; "
                "remove env_runner_cls from it"
            )
        return self.module[names[0]]

    def _prepare(self) -> None:
        """Set up how the environments that there are now are played."""
        module, config = self.module_to_act, self.config
        settings = sequence_settings(module)
        if config.is_multi_agent:
            self._env = self.env.envs[0].unwrapped
            arrays = arrays_of_agents(self._env, self.num_envs, self._seed, "ArrayEnvRunner")
            agents, (name,) = self._env.possible_agents, self.module.keys()
        else:
            # Past RLlib's wrapper, which turns infos into lists.
            flat = any(isinstance(piece, FlattenObservations) for piece in self._env_to_module)
            narrow = next(
                (p.observation_space for p in self._env_to_module if type(p) is FlattenSteps), None
            )
            arrays = one_line(lambda: InfoArrays(self.env.env, self._seed, flat, narrow))
            agents, name = [None], None
            horizon = config.episode_lookback_horizon
            self._chunks = EpisodeChunks(horizon, module.observation_space, module.action_space)
        arrays = CheckedArrays(arrays, agents, getattr(module, "step_inputs", None))
        self._sampler = VectorSampler(self._filtered(arrays, agents))
        labelled = settings is not None and bool(settings.auxiliary)
        self._sampler.with_infos = labelled or not config.is_multi_agent
        drawn = [piece for piece in self._env_to_module if isinstance(piece, StreamColumns)]
        self._actor = ModuleActor(
            name,
            module,
            self._sampler.rows,
            drawn,
            config.normalize_actions,
            config.clip_actions,
        )
        self._needs_initial_reset = False

    def _filtered(self, arrays: ArrayEnv, agents: list[Any]) -> ArrayEnv:
        """The same through the running filter that the config may ask for."""
        found = [piece for piece in self._env_to_module if isinstance(piece, MeanStdFilter)]
        if not found:
            return arrays
        found[0].get_state()  # makes the filters, which RLlib does at the first observation
        return FilteredArrays(arrays, lambda: [found[0]._filters[agent] for agent in agents])

    def _sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[Any]:
        self._actor.module = self.module_to_act
        self._actor.explore = None if random_actions else explore
        if self.config.is_multi_agent:
            return self._sample_campaigns(num_timesteps, num_episodes)
        return self._sample_chunks(num_timesteps, num_episodes, force_reset)

    def _begin(self) -> None:
        self._actor.step = self.num_env_steps_sampled_lifetime
        self._actor.begin()

    def _sample_chunks(
        self, num_timesteps: int | None, num_episodes: int | None, force_reset: bool
    ) -> list[SingleAgentEpisode]:
        sampler = self._sampler
        self._begin()
        sampler.campaigns.clear()
        if force_reset or num_timesteps is None or self._needs_initial_reset:
            sampler.restart()
            self._ongoing_episodes_for_metrics.clear()
        if num_timesteps == 0:
            return []
        if num_timesteps is None:
            batch = sampler.sample_episodes(num_episodes or self.num_envs, self._actor)
        else:
            batch = sampler.sample(num_timesteps, self._actor)
        self._needs_initial_reset = num_timesteps is None
        chunks = self._chunks.chunks(batch, self._actor, self._weights_seq_no)
        ended = [chunk for chunk in chunks if chunk.is_done]
        rows = batch.rows[batch.terminated | batch.truncated]
        for row, chunk in zip(rows.tolist(), ended, strict=True):
            self._on_episode_end(chunk, row, self._ongoing_episodes_for_metrics[chunk.id_])
        self._done_episodes_for_metrics.extend(ended)
        self._log_env_steps(metric=self._metrics_num_env_steps_sampled, num_steps=batch.ticks)
        self._increase_sampled_metrics(batch.ticks, len(ended))
        if num_timesteps is None:  # as RLlib does, what has not ended is left out
            return ended
        for chunk in chunks[len(ended) :]:
            self._ongoing_episodes_for_metrics[chunk.id_].append(chunk)
        return chunks

    def _sample_campaigns(
        self, num_timesteps: int | None, num_episodes: int | None
    ) -> list[MultiAgentEpisode]:
        episodes: list[MultiAgentEpisode] = []
        ticks = 0
        while (num_timesteps is not None and ticks < num_timesteps) or (
            num_timesteps is None and len(episodes) < (num_episodes or self.num_envs)
        ):
            self._begin()
            batch = self._sampler.sample_campaigns(self._actor)
            campaigns, self._sampler.campaigns = self._sampler.campaigns, []
            module = self._actor.module
            episodes += campaign_episodes(
                batch,
                campaigns,
                self._env,
                self._actor,
                (module.observation_space, module.action_space),
                self.config.policy_mapping_fn,
            )
            self._count(batch.ticks, int(batch.lengths.sum()), len(campaigns))
            ticks += batch.ticks
        self._done_episodes_for_metrics.extend(episodes)
        for index, episode in enumerate(episodes):
            self._on_episode_end(episode, index % self.num_envs, [])
        return episodes

    def _on_episode_end(self, episode: Any, index: int, before: list[Any]) -> None:
        make_callback(
            "on_episode_end",
            callbacks_objects=self._callbacks,
            callbacks_functions=self.config.callbacks_on_episode_end,
            kwargs={
                "episode": episode,
                "prev_episode_chunks": before,
                "env_runner": self,
                "metrics_logger": self.metrics,
                "env": self.env.unwrapped,
                "rl_module": self.module,
                "env_index": index,
            },
        )

    def _count(self, ticks: int, steps: int, campaigns: int) -> None:
        """What RLlib's runner of several agents counts step by step; all agents in one."""
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
            (NUM_MODULE_STEPS_SAMPLED, NUM_MODULE_STEPS_SAMPLED_LIFETIME): self._actor.name,
            (NUM_AGENT_STEPS_SAMPLED, NUM_AGENT_STEPS_SAMPLED_LIFETIME): "users",
        }.items():
            self.metrics.log_value((now, who), steps, reduce="sum")
            self.metrics.log_value((lifetime, who), steps, reduce="lifetime_sum")
