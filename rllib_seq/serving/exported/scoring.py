"""What a policy would do on recorded trajectories, with Ray Data.

- `score`: records in, actions and bids out.

One user is one group, so users are shared among all cores of a cluster; each worker loads the
export once. Nothing is served and nothing is learned: it is for looking before serving.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import ray
from numpy.typing import NDArray
from ray.data import DataContext
from ray.data.context import ShuffleStrategy

from rllib_seq.errors import UserError
from rllib_seq.journeys.store import StoredWindow
from rllib_seq.serving.exported.policy import Policy, load_policy, split_parts


def score(export: Path, files: Sequence[Path], output: Path) -> dict[str, Any]:
    """Scores records.

    Args:
        export: of the policy.
        files: Parquet files or folders, as `serve --record` writes them.
        output: folder for Parquet files: `episode`, `step`, the recorded `action`, the policy's
            `scored_action` and its `bid` in currency units (of the first segment).

    Returns:
        How many `steps` there are, the `agreement` with the recorded actions, and the mean bids.

    Raises:
        UserError: something that the user can fix.
    """
    policy = load_policy(export)
    if policy.spec.stream != "user":
        raise UserError(f"{str(export)!r} follows campaigns; records are of users")
    paths = [str(path) for path in files]
    for path in files:
        if not path.exists():
            raise UserError(f"no records in {str(path)!r}; give what `serve --record` wrote")
    context = DataContext.get_current()
    context.enable_progress_bars = False
    # Of tasks alone: the default holds actors, for which a small Ray has no room.
    context.shuffle_strategy = ShuffleStrategy.SORT_SHUFFLE_PULL_BASED
    folder = str(export.resolve())
    # The default is 200 blocks, however little there is.
    blocks = max(1, 2 * int(ray.cluster_resources().get("CPU", 1)))
    scored = (
        ray.data.read_parquet(paths, override_num_blocks=blocks)
        .groupby("episode")
        .map_groups(_score_user, fn_kwargs={"export": folder}, batch_format="pyarrow")
        .materialize()
    )
    if scored.count() == 0:
        raise UserError(f"{', '.join(paths)} hold no step to score")
    scored.write_parquet(str(output))
    same = scored.add_column("same", lambda batch: batch["action"] == batch["scored_action"])
    return {
        "steps": scored.count(),
        "agreement": float(same.mean("same")),
        "mean_bid": float(scored.mean("bid")),
        "output": str(output),
    }


@lru_cache(maxsize=1)
def _policy(export: str) -> Policy:
    """Once in each worker."""
    return load_policy(Path(export))


def _score_user(rows: pa.Table, export: str) -> pa.Table:
    policy = _policy(export)
    config = policy.spec.config
    brought = rows.group_by("step").aggregate([("reward", "sum")])
    steps = rows.filter(pa.compute.is_valid(rows["action"])).sort_by("step")
    action = steps["action"].to_numpy()
    reward = dict(zip(brought["step"].to_pylist(), brought["reward_sum"].to_pylist(), strict=True))
    rewards = np.array([reward[step] for step in steps["step"].to_pylist()], np.float64)
    width = len(policy.spec.facts["observation"])
    flat = pa.compute.list_flatten(steps["observation"]).to_numpy().astype(np.float32)
    scored = score_stream(policy, flat.reshape(-1, width), action, rewards)
    parts = split_parts(scored, policy.spec.action_sizes)
    actions = parts[0] if len(parts) == 1 else np.stack(parts, axis=1)
    bid, _ = config.build_actions(config.build_preset()).decode(
        actions, np.zeros(len(action), np.int64)
    )
    return pa.table(
        {
            "episode": steps["episode"],
            "step": steps["step"],
            "action": action,
            "scored_action": scored,
            "bid": bid,
        }
    )


def score_stream(
    policy: Policy,
    observations: NDArray[np.float32],
    actions: NDArray[np.int64],
    rewards: NDArray[np.float64],
) -> NDArray[np.int64]:
    """What the policy would do in every step of a stream, given what was done before.

    Args:
        policy: that is asked.
        observations: `[T, D]`.
        actions: `[T]`, that were taken.
        rewards: `[T]`, that followed.

    Returns:
        `[T]`.
    """
    count, length = len(actions), policy.spec.steps_kept
    if count == 0:
        return np.zeros(0, np.int64)
    # Step i of the past of step t is step t - L + i.
    at = np.arange(count)[:, None] - length + np.arange(length)
    valid = at >= 0
    at = np.maximum(at, 0)

    def past(values: NDArray[Any]) -> NDArray[Any]:
        taken = values[at]
        taken[~valid] = 0
        return taken

    window = StoredWindow(
        past(observations),
        past(actions.astype(np.int32)),
        past(rewards.astype(np.float32)),
        np.zeros(at.shape),
        valid,
    )
    if not policy.spec.memory_size:
        nothing = np.zeros((count, 0), np.float32)
        return policy.act(observations, window, nothing)[0]
    scored, memory = np.zeros(count, np.int64), np.zeros((1, policy.spec.memory_size), np.float32)
    for step in range(count):
        now = slice(step, step + 1)
        before = StoredWindow._make(part[now] for part in window)
        scored[now], memory = policy.act(observations[now], before, memory)
    return scored
