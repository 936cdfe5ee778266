"""Where a command works: a Ray of its own on this machine, or a cluster.

- `ray_session`: starts the one or connects to the other, and leaves nothing behind
- `start_ray`: `ray.init` on a busy machine
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from rich.console import Console

from rllib_seq.errors import Interrupted, UserError

_FOLDERS = "rllib-seq-ray-"  # of local Rays, in the system's folder for temporary files
_END_SECONDS = 10  # that a worker of a local Ray has to end
_STARTS = 5  # of a local Ray that is too slow to start
_IN_A_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set by Ray for what `ray job submit` starts


def cpus_of(config: AlgorithmConfig) -> float:
    """CPUs that an algorithm's remote workers and learners ask for; the driver takes none."""
    request = config.algo_class.default_resource_request(config)
    return sum(bundle.get("CPU", 0.0) for bundle in request.bundles[1:])


@contextlib.contextmanager
def ray_session(num_cpus: float, console: Console, logs: Path | None = None) -> Iterator[None]:
    """Ray for the time of a command.

    Uses the Ray that this process has, else the cluster of `RAY_ADDRESS`, to which it brings its
    own code, else a local one. Whatever it starts it ends, however the command ends; should this
    process be killed, Ray's own processes end too, and the next session removes their folder.

    Args:
        num_cpus: that the command needs; a local Ray has at least as many.
        console: hears of a cluster that is too small.
        logs: where Ray's logs go if the command fails; None drops them.
    """
    # RLlib announces its API stack and what it will deprecate, no matter who asks.
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)
    if ray.is_initialized():
        yield
    elif "RAY_ADDRESS" in os.environ:
        # A submitted job brings its code by itself.
        ray.init(runtime_env=None if _IN_A_JOB in os.environ else {"py_modules": _own_code()})
        try:
            there = ray.cluster_resources().get("CPU", 0.0)
            if there < num_cpus:
                console.print(
                    f"the cluster has {there:g} CPUs and this asks for {num_cpus:g}: it waits "
                    "until nodes join; else lower --num-env-runners"
                )
            yield
        finally:
            ray.shutdown()
    else:
        with _temporary_folder() as folder, _local_ray(folder, num_cpus, logs):
            yield


def start_ray(**options: Any) -> None:
    """Start a quiet local Ray, again if its own processes are too slow.

    A raylet ends if its agents take more than 15 seconds to start, as they do on a busy machine,
    and no setting changes that (https://github.com/ray-project/ray/issues/65983).

    Args:
        options: of `ray.init`.
    """
    for start in range(1, _STARTS + 1):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", **options)
            return
        except Exception as error:
            ray.shutdown()
            if start == _STARTS or "timed out during startup" not in str(error):
                raise


@contextlib.contextmanager
def _local_ray(folder: Path, num_cpus: float, logs: Path | None) -> Iterator[None]:
    # Ray's core reports what RLlib's restartable workers always are as an error.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        start_ray(
            num_cpus=max(os.cpu_count() or 1, math.ceil(num_cpus), 1),
            _temp_dir=str(folder),
        )
        yield
    except (UserError, Interrupted):
        raise
    except Exception as error:
        if logs is not None:
            with contextlib.suppress(OSError):  # a full disk, say, is why it failed
                shutil.copytree(folder / "session_latest" / "logs", logs, dirs_exist_ok=True)
                error.add_note(f"Ray's logs: {logs}")
        raise
    finally:
        workers = _rays_workers()
        ray.shutdown()
        _see_to_the_end_of(workers)


def _rays_workers() -> list[psutil.Process]:
    """What the raylets that this process has started have started."""
    workers = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            if child.name() == "raylet":
                workers += child.children(recursive=True)
    return workers


def _see_to_the_end_of(workers: list[psutil.Process]) -> None:
    """Workers end by themselves, when they see that their raylet is gone; or they are ended."""
    give_up = time.monotonic() + _END_SECONDS
    while (left := [each for each in workers if _is_at_work(each)]) and time.monotonic() < give_up:
        time.sleep(0.05)
    for worker in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()


def _is_at_work(process: psutil.Process) -> bool:
    """Not of a zombie, which stays forever in a container whose first process is no init."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A folder of this process alone; those of killed processes are removed on the way."""
    # Ray's sockets lie in here, and their paths must not be longer than about 100 characters.
    parent = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()))
    for abandoned in parent.glob(f"{_FOLDERS}*"):
        with contextlib.suppress(OSError), (abandoned / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its owner lives
            shutil.rmtree(abandoned, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_FOLDERS, dir=parent))
    try:
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with _temporary_files_in(folder):
                yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """What libraries leave in a temporary folder, here and in Ray's workers, goes with this one."""
    before, default = os.environ.get("TMPDIR"), tempfile.tempdir
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = default
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def _own_code() -> list[Any]:
    return [str(Path(__file__).parents[2])]
