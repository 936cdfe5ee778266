"""Rollout workers that tell the driver why they died, and how many steps they took.

RLlib ends a remote worker that raises, whatever it raised, and the driver learns only that it is
gone: bad data in a user's environment would look like a crash and be retried forever.

- `FaultReportingWorker`: RLlib's own of the old API stack
- `FaultReportingSingleAgentEnvRunner`, `FaultReportingMultiAgentEnvRunner`: those of the new one;
  `fault_reporting_worker` picks one for a config
- `raise_worker_errors`: raises what they reported, see `faults`
- `count_steps`, `STEPS_SAMPLED`: the steps of the new stack, counted exactly
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.evaluation.rollout_worker import RolloutWorker
from ray.rllib.policy.sample_batch import SampleBatch

from rllib_seq.errors import NonFiniteInputError, UserError
from rllib_seq.models.observations import pieces_of
from rllib_seq.models.spaces import refuse_old_actions, refuse_repeated
from rllib_seq.models.step_inputs import refuse_bad_step
from rllib_seq.registration import MODEL
from rllib_seq.rollouts.faults import error_of_worker, leave_error, leave_fault, name_faults

Result = TypeVar("Result")

STEPS_SAMPLED = "steps_sampled_lifetime"
"""Key in the `env_runners` results of the new API stack that `count_steps` fills."""


class _FaultReporting:
    """Leaves a note for the driver if the user can fix what ended this worker."""

    def __init__(self, **kwargs: Any) -> None:
        try:
            super().__init__(**kwargs)
        except UserError as error:
            if kwargs.get("worker_index"):  # 0 is in the driver
                leave_error(f"rollout worker {kwargs['worker_index']}", error)
            raise

    def apply(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs a function on this worker; RLlib asks remote workers for everything in this way."""

        def telling(worker: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return func(worker, *args, **kwargs)
            except Exception as raised:
                error = raised if isinstance(raised, UserError) else raised.__cause__
                if not isinstance(error, UserError):
                    raise
                who = f"rollout worker {worker.worker_index}"
                if isinstance(error, NonFiniteInputError) and (
                    worker.config.restart_failed_sub_environments
                ):
                    leave_fault(who, error)  # the user wants to go on: without this fragment
                    raise
                leave_error(who, error)
                # RLlib would also end the process, but only after a minute's wait.
                sys.exit(1)

        return super().apply(telling, *args, **kwargs)  # type: ignore[misc]


class FaultReportingWorker(_FaultReporting, RolloutWorker):
    """RLlib's rollout worker of the old API stack; names the stream that brought bad data."""

    def __init__(self, *, env_creator: Callable[[Any], Any], **kwargs: Any) -> None:
        def named(context: Any) -> Any:
            where = f"rollout worker {context.worker_index}, environment {context.vector_index}"
            env = env_creator(context)
            if kwargs["config"].model.get("custom_model") == MODEL:
                _refuse_spaces(env)
            return env if env is None else name_faults(env, where)

        super().__init__(env_creator=named, **kwargs)

    def sample(self, **kwargs: Any) -> Any:
        """Samples a batch; see RLlib.

        Raises:
            NonFiniteInputError: an observation or a reward is NaN or infinite.
        """
        try:
            batch = super().sample(**kwargs)
        except NonFiniteInputError:
            # The model sees rows of a batch; whose they are stands in RLlib's collectors.
            for episode in self.sampler._env_runner_obj._active_episodes.values():
                for agent, collector in episode._agent_collectors.items():
                    _refuse_newest(f"agent {agent!r} of episode {episode.episode_id}", collector)
            raise
        for rows in batch.as_multi_agent().policy_batches.values():
            _refuse_rewards(rows)
        return batch


class FaultReportingSingleAgentEnvRunner(_FaultReporting, SingleAgentEnvRunner):
    """RLlib's runner of single-agent environments on the new API stack."""

    def make_env(self) -> None:
        """Builds the environments; see RLlib."""
        super().make_env()
        name_environments(self)


class FaultReportingMultiAgentEnvRunner(_FaultReporting, MultiAgentEnvRunner):
    """RLlib's runner of multi-agent environments on the new API stack."""

    def make_env(self) -> None:
        """Builds the environments; see RLlib."""
        super().make_env()
        name_environments(self)


def fault_reporting_worker(config: AlgorithmConfig) -> type:
    """The worker class here that RLlib's own choice for a config is the base of."""
    if not config.enable_env_runner_and_connector_v2:
        return FaultReportingWorker
    return (
        FaultReportingMultiAgentEnvRunner
        if config.is_multi_agent
        else FaultReportingSingleAgentEnvRunner
    )


def raise_worker_errors(call: Callable[[], Result]) -> Result:
    """Calls what makes workers work, and raises what a worker reported instead of what it led to.

    Raises:
        UserError: a worker left a note.
    """
    for name in ("ray.rllib.utils.actor_manager", "ray.rllib.env.env_runner_group"):
        logging.getLogger(name).addFilter(_is_news)
    try:
        result = call()
    except UserError:  # of the driver itself
        raise
    except Exception as error:  # not everything can go on without workers
        if isinstance(error.__cause__, UserError):  # of a loss or an environment
            raise error.__cause__ from error
        note = error_of_worker()
        if note is None:
            raise
        raise UserError(note) from error
    note = error_of_worker()
    if note is not None:
        raise UserError(note)
    return result


def name_environments(runner: Any) -> None:
    """Let exceptions of a new-stack runner's environments say where they happened."""
    # Those of other processes (vectorized asynchronously) cannot be reached.
    envs = [] if runner.env is None else getattr(runner.env.unwrapped, "envs", [])
    for index, env in enumerate(envs):
        name_faults(env, f"rollout worker {runner.worker_index}, environment {index}")


def _refuse_spaces(env: Any) -> None:
    """Refuses spaces before RLlib's preprocessors and distributions fail with them."""
    for name in ("observation", "action"):
        by_agent = getattr(env, f"{name}_spaces", None)
        one = getattr(env, f"{name}_space", None)
        for space in by_agent.values() if isinstance(by_agent, Mapping) else [one]:
            if space is not None and name == "action":
                refuse_old_actions(space)
            elif space is not None:
                refuse_repeated(space)
                pieces_of(space, embed_above=1, one_hot=True)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether what RLlib logs of its workers' ends is more than what they reported."""
    return error_of_worker() is None


def _refuse_newest(stream: str, collector: Any) -> None:
    """Refuses what an agent's collector got last, if it is NaN or infinite."""
    newest = [part[-1] for part in collector.buffers[SampleBatch.OBS]]
    step = int(collector.buffers[SampleBatch.T][0][-1]) + 1  # it numbers the step before
    reward = collector.buffers[SampleBatch.REWARDS][0][-1] if step else 0.0
    observation = np.concatenate([np.ravel(part) for part in newest])
    refuse_bad_step(stream, step, observation, reward)


def _refuse_rewards(rows: SampleBatch) -> None:
    """Refuses rewards that are NaN or infinite; no step's input is an episode's last one."""
    rewards = np.asarray(rows[SampleBatch.REWARDS])
    if not np.isfinite(rewards).all():
        at = int(np.flatnonzero(~np.isfinite(rewards))[0])
        agent, episode = rows[SampleBatch.AGENT_INDEX][at], rows[SampleBatch.EPS_ID][at]
        stream, step = f"agent {agent} of episode {episode}", int(rows[SampleBatch.T][at]) + 1
        refuse_bad_step(stream, step, np.zeros(1), float(rewards[at]))


def count_steps(*, samples: Sequence[Any], metrics_logger: Any, **kwargs: Any) -> None:
    """Callback `on_sample_end` of the new API stack: counts the steps of all agents.

    RLlib's own count takes the observations after the first env step for steps: an agent that
    comes later than the episode's start counts once too often.
    """
    steps = sum(episode.agent_steps() for episode in samples)
    metrics_logger.log_value(STEPS_SAMPLED, steps, reduce="lifetime_sum")
