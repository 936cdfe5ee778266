from types import SimpleNamespace

from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from rllib_seq.training.default_trial import SparesDefault

DEFAULT = {"lr": 1.0}


def trial(lr, status=Trial.PENDING, result=None):
    return SimpleNamespace(
        trial_id=str(lr),
        config={"lr": lr},
        status=status,
        last_result=result,
        is_finished=lambda: status == Trial.TERMINATED,
    )


def controller(*trials):
    return SimpleNamespace(get_trials=lambda: list(trials))


def asha():
    inner = ASHAScheduler(time_attr="steps", grace_period=10, reduction_factor=2, max_t=40)
    scheduler = SparesDefault(inner, DEFAULT)
    assert scheduler.set_search_properties("profit", "max")
    assert scheduler.metric == "profit"
    return scheduler


def report(scheduler, of, steps, profit):
    return scheduler.on_trial_result(controller(of), of, {"steps": steps, "profit": profit})


def test_the_default_is_trained_on_and_raises_no_bar_for_others():
    scheduler, default = asha(), trial(1.0)
    others = [trial(lr) for lr in (2.0, 3.0, 4.0)]
    for each in (default, *others):
        scheduler.on_trial_add(controller(default, *others), each)
    assert report(scheduler, others[0], 10, 5.0) == TrialScheduler.CONTINUE
    assert report(scheduler, others[1], 10, 1.0) == TrialScheduler.STOP
    # Worse than all, and better than all: nothing comes of it.
    assert report(scheduler, default, 10, -9.0) == TrialScheduler.CONTINUE
    assert report(scheduler, default, 20, 99.0) == TrialScheduler.CONTINUE
    assert report(scheduler, others[2], 20, 6.0) == TrialScheduler.CONTINUE
    scheduler.on_trial_complete(controller(default), default, {"steps": 40, "profit": 99.0})


def test_the_default_goes_first():
    scheduler = SparesDefault(FIFOScheduler(), DEFAULT)
    default, other = trial(1.0), trial(2.0)
    assert scheduler.choose_trial_to_run(controller(other, default)) is default
    default.status = Trial.RUNNING
    assert scheduler.choose_trial_to_run(controller(other, default)) is other


def test_the_scheduler_within_does_not_meet_the_default():
    class Curious(FIFOScheduler):
        def choose_trial_to_run(self, tune_controller):
            assert [t.config["lr"] for t in tune_controller.get_trials()] == [2.0]
            return None

    default, other = trial(1.0, Trial.RUNNING), trial(2.0)
    scheduler = SparesDefault(Curious(), DEFAULT)
    assert scheduler.choose_trial_to_run(controller(default, other)) is None


def test_a_restored_sweep_remembers_the_trials_that_ended():
    scheduler = asha()
    ended = trial(2.0, Trial.TERMINATED, {"steps": 10, "profit": 5.0})
    scheduler.on_trial_add(controller(ended), ended)
    late = trial(3.0)
    scheduler.on_trial_add(controller(late), late)
    assert report(scheduler, late, 10, 1.0) == TrialScheduler.STOP
