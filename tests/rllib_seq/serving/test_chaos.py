"""A shortened `bench serve chaos`: the books of exchange and server agree, whatever happens."""

import pytest
from serving_helpers import free_port

from rllib_seq.benchmarks.serve.chaos import Chaos, run_chaos


@pytest.mark.slow
def test_the_books_agree_after_kills_a_full_disk_jumping_clocks_and_damaged_exports(
    journey, tmp_path
):
    chaos = Chaos(requests=500, connections=8, kills=2, budget=5.0)
    result = run_chaos(journey.folder, tmp_path, free_port(), chaos)
    assert result.passed, result.to_json()
