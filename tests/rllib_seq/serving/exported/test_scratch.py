"""The folder of an export that a server makes for itself."""

import os
import subprocess
import sys

import pytest

from rllib_seq.errors import UserError
from rllib_seq.serving.exported.scratch import scratch_folder

KILLED = """
import os, signal, sys
from rllib_seq.serving.exported.scratch import scratch_folder
with scratch_folder(sys.argv[1]) as folder:
    (folder / "model").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_server_left_is_removed_and_nothing_else(tmp_path):
    state = str(tmp_path / "state.sqlite")
    subprocess.run([sys.executable, "-c", KILLED, state], check=False)
    (left,) = tmp_path.iterdir()
    with scratch_folder(state) as one:
        assert not left.exists()
        (one / "model").touch()
        with scratch_folder(state) as other:
            assert other != one
            assert (one / "model").exists()
        assert list(tmp_path.iterdir()) == [one]
    assert list(tmp_path.iterdir()) == []


def test_without_a_file_it_is_where_temporary_files_are(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    aside = tmp_path / "aside"
    aside.mkdir()
    os.symlink(aside, tmp_path / ".rllib-seq-export-link")  # of someone else
    for state in (":memory:", "redis://localhost:6379/0"):
        with scratch_folder(state) as folder:
            assert folder.parent == tmp_path
    assert aside.exists()


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(UserError, match="cannot export the checkpoint into"):
        with scratch_folder(str(tmp_path / "none" / "state.sqlite")):
            pass
