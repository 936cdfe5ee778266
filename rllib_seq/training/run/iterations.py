"""RLlib's results as rows of progress; the same for a run and for a trial of a sweep.

- `Iterations`: an algorithm, one row after the other.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.utils.metrics import ALL_MODULES

from rllib_seq.envs.ad_auction.references.oracles import BayesBids
from rllib_seq.envs.ad_auction.simulator.play import play
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.envs.ad_auction.worlds.values import full_information, is_exact
from rllib_seq.rollouts import STEPS_SAMPLED, Faults, WorkerWatch, raise_worker_errors
from rllib_seq.training.seeds import Branch, branch_seed
from rllib_seq.training.storage.run_folder import Row

START: Row = {"iteration": 0, "steps": 0, "seconds": 0.0}
"""Where a run stands before its first iteration."""

COLUMNS = (
    "iteration",
    "steps",
    "seconds",
    "steps_per_second",
    "episode_return",
    "profit_per_user",
    "pct_of_bayes",
    "entropy",
    "policy_loss",
    "value_loss",
    "value_explained_variance",
    "grad_norm",
)
"""What a row of progress holds."""

_BAYES_USERS = 8192
_PAUSE_SECONDS = 0.05  # for the workers' sake, where an iteration brought nothing


class Iterations:
    """Trains an algorithm and says after each iteration where it stands.

    Args:
        algorithm: built, and restored if the run is resumed.
        row: where it stands.
        world: of the ad auction, for the profit in % of the Bayes policy; None for other envs.

    Attributes:
        row: the newest row of progress.
        waited: seconds since then, in iterations that brought no samples.
    """

    def __init__(self, algorithm: Algorithm, row: Row, world: AuctionConfig | None) -> None:
        self._algorithm = algorithm
        self._earnings = None if world is None else _Earnings(world)
        self._learned: dict[str, Any] = {}
        self._watch, self._told = WorkerWatch(algorithm), Faults()
        self.row, self.waited = row, 0.0

    @property
    def steps(self) -> int:
        """Steps sampled so far."""
        return int(self.row["steps"] or 0)

    def take_faults(self) -> list[str]:
        """What happened since the last call, after which training goes on; a line for each."""
        return [*self._watch.check(), *self._told.new()]

    def advance(self) -> Row | None:
        """Trains one iteration of RLlib.

        Returns:
            The new row, or None if no samples came in: asynchronous algorithms do not wait.

        Raises:
            UserError: a worker met data that only the user can fix.
        """
        began = time.monotonic()
        result: dict[str, Any] = raise_worker_errors(self._algorithm.train)
        steps = _steps(result)
        self._learned = _learner_stats(result) or self._learned
        if steps is None or steps == self.row["steps"]:
            time.sleep(_PAUSE_SECONDS)
            self.waited += time.monotonic() - began
            return None
        seconds = self.waited + time.monotonic() - began
        self.row = _row(result, self._learned, self.row, steps, seconds, self._earnings)
        self.waited, self._learned = 0.0, {}
        return self.row


class _Earnings:
    """Returns of episodes as profit per user, and that in % of what Bayes' bids earn.

    Bayes plays a campaign that no training or evaluation plays.
    """

    def __init__(self, world: AuctionConfig) -> None:
        self._per_user = world.num_users * world.reward_scale
        self._no_regret = 0.0
        """What a regret of 0 earns; 0 for rewards that are profit."""
        preset, judged = world.build_preset(), world.with_users(_BAYES_USERS).for_evaluation()
        about = world.reward == "regret" and not is_exact(preset)
        if about:  # Bayes' regret is needed, too
            judged = replace(judged, reward="regret", reward_scale=1.0)
        simulator = AuctionSimulator(judged)
        bayes = play(simulator, BayesBids(), branch_seed(0, Branch.REFERENCE))
        self._bayes = bayes.profit(preset.shadow_price) / _BAYES_USERS
        if about:
            self._no_regret = self._bayes - simulator.take_campaign_rewards()[0] / _BAYES_USERS
        elif world.reward == "regret":
            self._no_regret = full_information(preset).value

    def of(self, episode_return: float) -> tuple[float, float | None]:
        """Profit per user in currency units, and in % of Bayes if that earns anything."""
        profit = episode_return / self._per_user + self._no_regret
        return profit, 100 * profit / self._bayes if self._bayes else None


def _steps(result: dict[str, Any]) -> int | None:
    """Agent steps sampled since the start of the run; None if none have come in yet."""
    steps = result.get("num_agent_steps_sampled_lifetime")  # on the old API stack
    if steps is None:
        steps = result.get("env_runners", {}).get(STEPS_SAMPLED)
    return None if steps is None else int(steps)


def _learner_stats(result: dict[str, Any]) -> dict[str, Any]:
    """What the first policy's learner says of its last update; empty if there was none."""
    if "info" in result:  # on the old API stack
        learners = [policy["learner_stats"] for policy in result["info"]["learner"].values()]
    else:
        learned = result.get("learners", {})
        learners = [stats for module, stats in learned.items() if module != ALL_MODULES]
    return dict(learners[0]) if learners else {}


def _row(
    result: dict[str, Any],
    learned: dict[str, Any],
    before: Row,
    steps: int,
    seconds: float,
    earnings: _Earnings | None,
) -> Row:
    """One row of progress from RLlib's result; None where there is nothing to say yet."""
    episode_return = _finite(result["env_runners"].get("episode_return_mean"))
    profit, share = None, None
    if earnings is not None and episode_return is not None:
        profit, share = earnings.of(episode_return)

    def stat(*names: str) -> float | None:
        """What algorithms and API stacks call by these names."""
        return next((_finite(learned[name]) for name in names if name in learned), None)

    return {
        "iteration": int(before["iteration"] or 0) + 1,
        "steps": steps,
        "seconds": round(float(before["seconds"] or 0) + seconds, 3),
        "steps_per_second": round((steps - int(before["steps"] or 0)) / seconds, 1),
        "episode_return": episode_return,
        "profit_per_user": profit,
        "pct_of_bayes": share,
        "entropy": stat("entropy"),
        "policy_loss": stat("policy_loss", "mean_pi_loss"),
        "value_loss": stat("vf_loss", "qf_loss"),
        "value_explained_variance": stat("vf_explained_var"),
        "grad_norm": stat("grad_gnorm", "gradients_default_optimizer_global_norm"),
    }


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
