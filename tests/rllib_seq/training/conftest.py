"""What a command leaves behind, and waiting for it."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from rllib_seq.training import train as run


class Traces:
    """A home and a folder for temporary files, by which the processes of commands are known."""

    def __init__(self, home):
        self._home = home
        self._temporary = Path(tempfile.mkdtemp(prefix="op-"))  # short, for Ray's sockets
        self._environment = {**os.environ, "TMPDIR": str(self._temporary), "HOME": str(home)}

    @contextlib.contextmanager
    def command(self, *words):
        """Starts a command in a session of its own, as a terminal does; at the end it is killed."""
        with subprocess.Popen(
            words,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def processes(self, agents=True):
        """Processes that were started with a file in the folder, or have one open; workers do.

        Args:
            agents: Ray's too, which try for a minute to tell a killed driver that it is dead.
        """
        mark, found = str(self._temporary), []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                files = map(link, (process / "fd").iterdir())
                if mark in command or any(mark in file for file in files):
                    found.append(command)
        return [command for command in found if agents or "Agent" not in command]

    def folders(self):
        """What is in the folder, and what RLlib and Tune put into a home."""
        return [*self._temporary.iterdir(), *(self._home / "ray_results").glob("*")]

    def remove(self):
        shutil.rmtree(self._temporary, ignore_errors=True)


def link(file):
    try:
        return os.readlink(file)
    except OSError:  # it was closed meanwhile
        return ""


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    found = Traces(tmp_path_factory.mktemp("home"))
    yield found
    found.remove()


@pytest.fixture
def without_evaluation(monkeypatch):
    """Runs end with their last checkpoint: for tests of the training alone."""
    monkeypatch.setattr(
        run,
        "finish_run",
        lambda folder, checkpoint, *_: run.TrainingResult(folder.place, checkpoint.name, None),
    )


@pytest.fixture(scope="session")
def wait_for():
    """Waits until a condition holds, as long as a process lives that is to make it hold."""

    def wait(condition, seconds, process=None):
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline
            assert process is None or process.poll() is None
            time.sleep(0.2)
        return found

    return wait
