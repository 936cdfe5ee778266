"""One local Ray for the whole session, and one thread for torch."""

import os
from collections.abc import Iterator

# Workers and tests share two cores; see rllib_seq/__init__.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import ray
import torch
from ray.tune.trainable import trainable

# Two cores are shared with the workers of that Ray.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A local Ray with three CPUs, whatever the machine has."""
    # Every Algorithm makes a folder there, which is ~/ray_results by default.
    trainable.DEFAULT_STORAGE_PATH = str(tmp_path_factory.mktemp("ray_results"))
    # Serve starts its proxy anew, for ever, if it takes longer than 5 seconds. They are little
    # where all cores are busy.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
