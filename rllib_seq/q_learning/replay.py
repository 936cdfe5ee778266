"""Recurrent replay for RLlib's DQN: every step once, windows made when a batch is drawn.

- `SequenceEpisodeReplayBuffer`: what `DQNConfig` takes as a replay buffer
- `SampledSteps`: steps of one module, as columns of a train batch
- `SampledStepsToBatch`: the learner's connector for them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray.rllib.connectors.connector_v2 import ConnectorV2
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.replay_buffers import EpisodeReplayBuffer, PrioritizedEpisodeReplayBuffer
from ray.rllib.utils.torch_utils import convert_to_torch_tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.models.rl_module.windows import WindowLayout
from rllib_seq.q_learning.step_memory import StepMemory

NEXT = "next_"
"""Prefix of the columns of the step that n-step returns lead to."""

AFTER = "after_"
"""Prefix of what the very next step brought: observation, reward, end. For `head="auction"`."""

_LEAST_PRIORITY = 1e-6


@dataclass(frozen=True)
class SampledSteps:
    """Steps that one module is to learn from; RLlib handles it as if it were an episode."""

    module_id: str
    columns: dict[str, NDArray[Any]]
    """`[n, ...]` each: those of `windows_of` for the step and, with the prefix `NEXT`, for the
    step that its return leads to; `actions`, `rewards` (n-step), `terminateds`, `n_step`, and
    `weights` (of importance sampling)."""

    def __len__(self) -> int:
        return len(self.columns[Columns.ACTIONS])

    def __getitem__(self, rows: slice) -> SampledSteps:
        return SampledSteps(self.module_id, {k: v[rows] for k, v in self.columns.items()})

    def slice(self, rows: slice, **kwargs: Any) -> SampledSteps:
        """As indexing; RLlib cuts episodes in this way to share them among learners."""
        return self[rows]

    def env_steps(self) -> int:
        """Number of steps."""
        return len(self)


class SequenceEpisodeReplayBuffer(PrioritizedEpisodeReplayBuffer):
    """Replay of the steps of single- or multi-agent episodes, prioritized (Schaul et al. 2016).

    Every stream (an episode, or an agent in one) is stored step by step, each once, and every
    policy has a memory of its own. It is a `PrioritizedEpisodeReplayBuffer` by name alone, because
    RLlib asks for that class before it reports TD errors.

    Args:
        capacity: steps per policy.
        sequence_config: fields of `SequenceConfig`, the model's.
        alpha: exponent of the priorities; 0 draws uniformly.
        num_learners: among whom a batch will be shared.
        seed: of what is drawn.
    """

    def __init__(
        self,
        capacity: int = 50_000,
        *,
        sequence_config: dict[str, Any],
        alpha: float = 0.6,
        num_learners: int = 0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        # Not the parent's: its trees and indices would never be used.
        EpisodeReplayBuffer.__init__(self, capacity, **kwargs)
        settings = SequenceConfig.from_dict(sequence_config)
        self.layout = WindowLayout.of(settings)
        self._with_outcomes = settings.head == "auction"
        self.alpha = alpha
        self.shares = max(1, num_learners)
        self.rng = np.random.default_rng(seed)
        self.memories: dict[str, StepMemory] = {}
        self._highest: dict[str, float] = {}  # priority that any step ever had
        self._drawn: dict[str, NDArray[np.int64]] = {}

    def add(self, episodes: Any, weight: float | None = None) -> None:
        """Store episodes, or pieces of episodes whose beginnings came before.

        Args:
            episodes: one or a list of SingleAgentEpisode or MultiAgentEpisode.
            weight: priority of their steps; None: the highest so far, so that all are seen soon.
        """
        for episode in episodes if isinstance(episodes, Sequence) else [episodes]:
            if isinstance(episode, MultiAgentEpisode):
                for agent, part in episode.agent_episodes.items():
                    self._add(part, (episode.id_, agent), part.module_id, weight)
            else:
                self._add(episode, episode.id_, DEFAULT_MODULE_ID, weight)

    def _add(
        self, episode: SingleAgentEpisode, stream: Any, module: str, weight: float | None
    ) -> None:
        steps = len(episode)
        if module not in self.memories:
            self.memories[module] = StepMemory(self.capacity, self.layout)
            self._highest[module] = 1.0
        space = episode.action_space
        self.memories[module].append(
            stream,
            episode.t_started,
            np.asarray(episode.get_observations(slice(0, steps + 1))),
            np.asarray(episode.get_actions(slice(0, steps)), space.dtype).reshape(-1, *space.shape),
            np.asarray(episode.get_rewards(slice(0, steps)), np.float32),
            terminated=episode.is_terminated,
            truncated=episode.is_truncated,
            priority=(self._highest[module] if weight is None else weight) ** self.alpha,
        )
        self._num_timesteps_added += steps

    def sample(
        self,
        num_items: int | None = None,
        *,
        n_step: int | tuple[int, int] = 1,
        gamma: float = 0.99,
        beta: float | None = 0.0,
        **kwargs: Any,
    ) -> list[SampledSteps]:
        """Draw `num_items` steps of every policy.

        Args:
            num_items: None: the default of RLlib's buffers.
            n_step: steps whose rewards are summed, or the least and the most of them. Near the end
                of a stream there are fewer, and the batch says how many.
            gamma: discount per step.
            beta: exponent of the importance weights, whose maximum in the batch is 1.
            **kwargs: what RLlib asks of recurrent modules with a stored state.

        Raises:
            UserError: there is no step whose window is whole.
        """
        count = num_items or self.batch_size_B
        sampled = []
        for module, memory in self.memories.items():
            rows, probability = memory.sample(count, self.rng)
            self._drawn[module] = rows
            least, most = n_step if isinstance(n_step, tuple | list) else (n_step, n_step)
            returns = memory.returns(rows, self.rng.integers(least, most + 1, count), gamma)
            weights = (probability / probability.min()) ** -(beta or 0.0)
            columns = {
                **memory.windows(rows),
                **{NEXT + name: part for name, part in memory.windows(returns.last).items()},
                Columns.ACTIONS: memory.actions(rows),
                Columns.REWARDS: returns.rewards.astype(np.float32),
                Columns.TERMINATEDS: returns.terminated,
                "n_step": returns.steps.astype(np.float32),
                "weights": weights.astype(np.float32),
            }
            if self._with_outcomes:
                brought = memory.outcomes(rows)
                names = (Columns.OBS, Columns.REWARDS, Columns.TERMINATEDS)
                columns |= {AFTER + name: part for name, part in zip(names, brought, strict=True)}
            steps = SampledSteps(module, columns)
            cuts = np.linspace(0, count, self.shares + 1).astype(int)
            sampled += [steps[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
            self.sampled_timesteps += count
        return sampled

    def update_priorities(
        self, priorities: NDArray[Any], module_id: str = DEFAULT_MODULE_ID
    ) -> None:
        """Give the steps drawn last new priorities.

        Args:
            priorities: absolute TD errors, `[n]`, in the order of `sample`.
            module_id: whose.
        """
        priorities = np.maximum(np.asarray(priorities, np.float64).ravel(), _LEAST_PRIORITY)
        self._highest[module_id] = max(self._highest[module_id], float(priorities.max()))
        rows = self._drawn.pop(module_id)
        self.memories[module_id].set_priorities(rows, priorities**self.alpha)

    def get_num_timesteps(self, module_id: str | None = None) -> int:
        """Rows in use, of one policy or of all."""
        memories = self.memories
        chosen = memories.values() if module_id is None else [memories[module_id]]
        return sum(map(len, chosen))

    def get_metrics(self) -> dict[str, Any]:
        """Rows in use and bytes of memory."""
        self.metrics.log_value("num_steps_stored", self.get_num_timesteps(), window=1)
        nbytes = sum(memory.nbytes for memory in self.memories.values())
        self.metrics.log_value("nbytes", nbytes, window=1)
        return self.metrics.reduce()

    def get_state(self) -> dict[str, Any]:
        """All that `set_state` needs; in checkpoints with `store_buffer_in_checkpoints`."""
        memories = {name: memory.get_state() for name, memory in self.memories.items()}
        return {
            "memories": memories,
            "highest": dict(self._highest),
            "added": self._num_timesteps_added,
            "sampled": self.sampled_timesteps,
            "rng": self.rng.bit_generator.state,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Become the buffer that `get_state` described.

        Raises:
            UserError: it had another capacity.
        """
        self.memories = {}
        for name, memory in state["memories"].items():
            self.memories[name] = StepMemory(self.capacity, self.layout)
            self.memories[name].set_state(memory)
        self._highest = dict(state["highest"])
        self._num_timesteps_added = state["added"]
        self.sampled_timesteps = state["sampled"]
        self.rng.bit_generator.state = state["rng"]


class SampledStepsToBatch(ConnectorV2):
    """The whole learner pipeline: columns of `SampledSteps`, by module, as tensors."""

    def __init__(self, device: Any) -> None:
        """Build it for a learner on `device`."""
        super().__init__()
        self.device = device

    def __call__(self, *, episodes: list[SampledSteps], **kwargs: Any) -> dict[str, Any]:
        """Return `{module: {column: tensor}}`; RLlib calls this."""
        shares: dict[str, list[SampledSteps]] = {}
        for steps in episodes:
            shares.setdefault(steps.module_id, []).append(steps)
        return {
            module: {
                name: convert_to_torch_tensor(
                    np.concatenate([steps.columns[name] for steps in parts]), device=self.device
                )
                for name in parts[0].columns
            }
            for module, parts in shares.items()
        }
