"""The wheel that the sdist makes, in a venv of its own, beside a project with names like ours."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]

PROJECT = {
    "envs/__init__.py": "OWNER = 'the user'\n",
    "envs/maze.py": """
import gymnasium as gym
import numpy as np

class Maze(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, config=None):
        self.steps = 0

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        return np.zeros(2, np.float32), float(action), self.steps == 10, False, {}
""",
    "tests/__init__.py": "OWNER = 'the user'\n",
    "tune_configs/__init__.py": "OWNER = 'the user'\n",
    "tune_configs/mine.py": """
from ray.rllib.algorithms.ppo import PPOConfig
from envs.maze import Maze
from rllib_seq.models import use_sequence_module

config = PPOConfig().environment(Maze).env_runners(num_env_runners=1)
config.training(train_batch_size_per_learner=64, minibatch_size=32, num_epochs=1)
use_sequence_module(config, window_length=4, d_model=8, num_heads=2)
""",
    "elsewhere/beside.py": "from envs.maze import Maze\n\nclass Beside(Maze):\n    pass\n",
    "elsewhere/loose.py": """
from beside import Beside
from tune_configs.mine import config

config = config.copy(copy_frozen=False).environment(Beside)
""",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A venv with the wheel, and a project of a user's in which its commands are run."""
    folder = tmp_path_factory.mktemp("packaging")
    source, venv, project = folder / "source", folder / "venv", folder / "project"
    names = ("rllib_seq", "envs", "tune_configs", "tests", *(p.name for p in ROOT.glob("*.*")))
    source.mkdir()
    for name in names:
        place = ROOT / name
        if place.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(place, source / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(place, source / name)
    shutil.copy(ROOT / "LICENSE", source)
    shutil.rmtree(source / "rllib_seq.egg-info", ignore_errors=True)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", source)
    (wheel,) = (folder / "dist").glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    packages = venv / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    # Of everything else this venv has what the running one has; .pth files there are not read, so
    # it has no checkout of ours.
    (packages / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin/python", "install", "--no-index"]
    run(*pip, "--no-deps", "--ignore-installed", wheel)
    for name, content in PROJECT.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(content)
    return venv / "bin", project, wheel


def run(*words, code=0, **options):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, env=environment, **options
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_wheel_holds_one_name_and_no_links(installed):
    with zipfile.ZipFile(installed[2]) as wheel:
        names = wheel.namelist()
        (top,) = [name for name in names if name.endswith("top_level.txt")]
        assert wheel.read(top).decode().split() == ["rllib_seq"]
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"rllib_seq"}
    assert "rllib_seq/envs/ad_auction/gym_env.py" in names
    assert any(name.startswith("rllib_seq/envs/ad_auction/data/") for name in names)
    assert "rllib_seq/tune_configs/ppo.py" in names
    assert "rllib_seq/py.typed" in names


def test_a_users_packages_of_the_same_names_stay_their_own(installed):
    """And what the wheel ships is found beside them, by RLlib too."""
    binaries, project, _ = installed
    script = (
        "import gymnasium, rllib_seq, envs, tests, tune_configs\n"
        "import rllib_seq.tune_configs, rllib_seq.envs.ad_auction as ours\n"
        "assert {envs.OWNER, tests.OWNER, tune_configs.OWNER} == {'the user'}\n"
        "assert 'site-packages' in rllib_seq.__file__ and 'site-packages' in ours.__file__\n"
        "gymnasium.make('AdAuction-v0').reset(seed=1)\n"
        "from rllib_seq.training.config.modules import load_config\n"
        "assert load_config('impala').env == 'multi_user_ad_auction'\n"
        "from ray import tune\n"
        "tune.Tuner('PPO', param_space={'env': 'CartPole-v1'})\n"
    )
    run(binaries / "python", "-c", script, cwd=project)


def test_the_command_without_a_checkout(installed):
    binaries, project, _ = installed
    command = binaries / "rllib-seq"
    assert "rllib-seq 0" in run(command, "--version", cwd=project)
    assert "learning" in run(command, "bench", "nothing", code=2, cwd=project)


COMMANDS = """
import sys
from rllib_seq.cli import main

for line in sys.argv[1:]:
    sys.argv = ["rllib-seq", *line.split()]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, line
"""


def test_training_from_a_users_module_and_file(installed):
    """Evaluation and report know the environments in another process, too."""
    binaries, project, _ = installed
    configs = {"mine": "tune_configs.mine", "loose": "elsewhere/loose.py"}
    # -P: as of a command, the path begins without the current folder.
    python = [binaries / "python", "-P", "-c", COMMANDS]
    limits = "--stop-steps 100 --evaluate none"
    train = [f"train {module} {limits} --json {name}" for name, module in configs.items()]
    run(*python, *train, cwd=project)
    runs = {name: json.loads((project / name).read_text())["run"] for name in configs}
    judge = [f"evaluate {place} --json {name}" for name, place in runs.items()]
    judge += [f"report {place}" for place in runs.values()]
    run(*python, *judge, cwd=project)
    for name, env in (("mine", "envs.maze.Maze"), ("loose", "beside.Beside")):
        folder = project / runs[name]
        assert env in json.loads((folder / "config.json").read_text())["env"]
        assert json.loads((project / name).read_text())["return"]["lengths"] == [10] * 12
        assert "Mean return of 12 episodes" in (folder / "report.html").read_text()


@pytest.mark.parametrize(("module", "extra"), [("onnxruntime", "serve"), ("uvicorn", "serve")])
def test_a_missing_extra_is_one_line(installed, module, extra, tmp_path):
    binaries, project, _ = installed
    (tmp_path / "spec.json").write_text("{}")
    script = (
        "import sys\n"
        f"sys.modules[{module!r}] = None\n"
        f"sys.argv = ['rllib-seq', 'serve', {str(tmp_path)!r}]\n"
        "from rllib_seq.cli import main\nmain()\n"
    )
    printed = run(binaries / "python", "-c", script, code=2, cwd=project)
    assert printed == f'error: {module} is not installed; run: pip install "rllib-seq[{extra}]"\n'
