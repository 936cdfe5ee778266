from pathlib import Path
from types import SimpleNamespace

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search.basic_variant import BasicVariantGenerator

from rllib_seq.training.sweeps.default_trial import SparesDefault

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


def climber():
    # Not of the module, which workers cannot import: travels by value.
    class Climber(tune.Trainable):
        """Climbs by its rate; what it has climbed is its state."""

        def setup(self, config):
            self.height, self.config = 0.0, config

        def step(self):
            self.height += self.config["lr"]
            return {"profit": self.height, "lr": self.config["lr"]}

        def save_checkpoint(self, checkpoint_dir):
            (Path(checkpoint_dir) / "height").write_text(str(self.height))

        def load_checkpoint(self, checkpoint_dir):
            self.height = float((Path(checkpoint_dir) / "height").read_text())

        def reset_config(self, new_config):
            self.setup(new_config)
            return True

    return Climber


def test_a_population_passes_the_default_by(ray_session, tmp_path):
    """PBT moves laggards to the best; the default neither follows nor leads."""
    space = {"lr": tune.uniform(0.0, 3.0)}
    population = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        hyperparam_mutations=space,
        quantile_fraction=0.5,
        synch=True,
    )
    points = [DEFAULT, {"lr": 0.1}, {"lr": 2.0}]
    tuner = tune.Tuner(
        climber(),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="profit",
            mode="max",
            num_samples=3,
            search_alg=BasicVariantGenerator(points_to_evaluate=points, random_state=1),
            scheduler=SparesDefault(population, DEFAULT),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(tmp_path), stop={"training_iteration": 8}, verbose=0
        ),
    )
    curves = [list(result.metrics_dataframe["lr"]) for result in tuner.fit()]
    default, laggard = curves[0], curves[1]
    assert default == [1.0] * 8
    assert laggard[0] == 0.1
    assert len(set(laggard)) > 1
