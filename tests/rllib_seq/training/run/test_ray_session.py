"""What a local Ray leaves behind: nothing that works, and no wait for what has ended."""

import subprocess

import psutil
import pytest

from rllib_seq.training.run import ray_session


@pytest.fixture
def started():
    """Starts a shell whose first line of output is the id of a process; returns both."""
    shells = []

    def start(script):
        shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
        shells.append(shell)
        return psutil.Process(int(shell.stdout.readline()))

    yield start
    for shell in shells:
        shell.kill()
        shell.communicate()


def test_a_zombie_has_ended(started, wait_for, monkeypatch):
    """Orphans are never reaped in a container whose first process is no init."""
    monkeypatch.setattr(ray_session, "_END_SECONDS", 3600.0)  # what a wait would take
    process = started("sleep 0.2 & echo $!; exec sleep 60")
    wait_for(lambda: process.status() == psutil.STATUS_ZOMBIE, 600)
    ray_session._see_to_the_end_of([process])
    assert process.status() == psutil.STATUS_ZOMBIE


def test_who_does_not_end_is_ended_and_who_ends_is_waited_for(started, wait_for, monkeypatch):
    monkeypatch.setattr(ray_session, "_END_SECONDS", 1.0)
    ends, stays = started("echo $$; exec sleep 0.3"), started("echo $$; exec sleep 60")
    ray_session._see_to_the_end_of([ends, stays])
    assert not ray_session._is_at_work(ends)
    wait_for(lambda: not ray_session._is_at_work(stays), 600)
