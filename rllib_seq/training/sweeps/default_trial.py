"""A sweep's first trial is the config as it stands, and no scheduler stops or changes it.

- `SparesDefault`: wraps a scheduler of Ray Tune
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, TrialScheduler


class SparesDefault(TrialScheduler):
    """A scheduler that trains one trial to its end, whatever the scheduler within thinks of it.

    What a sweep found can then be compared with the default at the same number of steps. The
    scheduler within never hears of that trial.

    Args:
        scheduler: any of Tune's.
        default: the sample of the trial to spare.
    """

    def __init__(self, scheduler: TrialScheduler, default: dict[str, Any]) -> None:
        super().__init__()
        self._inner, self._default = scheduler, default

    def _is_default(self, trial: Trial) -> bool:
        return bool(trial.config == self._default)

    @property
    def metric(self) -> str | None:
        """Of the scheduler within."""
        return self._inner.metric

    @property
    def supports_buffered_results(self) -> bool:
        """Of the scheduler within."""
        return bool(self._inner.supports_buffered_results)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """See Tune."""
        return bool(self._inner.set_search_properties(metric, mode, **spec))

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """See Tune."""
        if self._is_default(trial):
            return
        others = _Others(tune_controller, self)
        self._inner.on_trial_add(others, trial)
        if trial.is_finished() and trial.last_result and isinstance(self._inner, ASHAScheduler):
            # Of a restored sweep; Tune keeps no schedulers, and an empty rung promotes everybody.
            self._inner.on_trial_result(others, trial, trial.last_result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """See Tune."""
        if not self._is_default(trial):
            self._inner.on_trial_error(_Others(tune_controller, self), trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """See Tune."""
        if self._is_default(trial):
            return TrialScheduler.CONTINUE
        return str(self._inner.on_trial_result(_Others(tune_controller, self), trial, result))

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """See Tune."""
        if not self._is_default(trial):
            self._inner.on_trial_complete(_Others(tune_controller, self), trial, result)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """See Tune."""
        if not self._is_default(trial):
            self._inner.on_trial_remove(_Others(tune_controller, self), trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """See Tune; the default goes first."""
        for trial in tune_controller.get_trials():
            if self._is_default(trial) and trial.status in (Trial.PENDING, Trial.PAUSED):
                return trial
        return self._inner.choose_trial_to_run(_Others(tune_controller, self))

    def debug_string(self) -> str:
        """See Tune."""
        return str(self._inner.debug_string())

    def save(self, checkpoint_path: str) -> None:
        """See Tune."""
        self._inner.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """See Tune."""
        self._inner.restore(checkpoint_path)


class _Others:
    """Tune's controller as the scheduler within sees it: without the default trial."""

    def __init__(self, controller: Any, scheduler: SparesDefault) -> None:
        self._controller, self._scheduler = controller, scheduler

    def get_trials(self) -> list[Trial]:
        return self._without(self._controller.get_trials())

    def get_live_trials(self) -> set[Trial]:
        return set(self._without(self._controller.get_live_trials()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._controller, name)

    def _without(self, trials: Any) -> list[Trial]:
        return [trial for trial in trials if not self._scheduler._is_default(trial)]
