"""One local Ray for a whole test process, one thread for torch, a browser."""

import os
import shutil
from collections.abc import Iterator
from typing import Any

# Workers and tests share two cores; see rllib_seq/__init__.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Ray lets its workers give way to all else, and where tests keep the cores busy they hardly run.
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("RAY_DASHBOARD_STARTUP_TIMEOUT_S", "600")

import pytest
import ray
import torch
from ray.tune.trainable import trainable

# Two cores are shared with the workers of that Ray.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests by their fixtures, and puts files with long tests first.

    `make test-fast` leaves marked tests out. Two processes take files in this order (`make test`):
    where a file of minutes comes last, one of them has nothing to do meanwhile.
    """
    long = set()
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "ray_session" in fixtures:
            item.add_marker("ray")
        if "traces" in fixtures:  # of commands
            item.add_marker("slow")
        if item.get_closest_marker("ray") or item.get_closest_marker("slow"):
            long.add(item.path)
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A local Ray with three CPUs, whatever the machine has."""
    # Every Algorithm makes a folder there, which is ~/ray_results by default.
    trainable.DEFAULT_STORAGE_PATH = str(tmp_path_factory.mktemp("ray_results"))
    # Serve starts its proxy again, forever, if it takes longer than 5 seconds. They are little
    # where all cores are busy.
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "60")
    from rllib_seq.training.run.ray_session import start_ray

    start_ray(num_cpus=3)
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's chromium without a window."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is missing; apt-get install chromium chromium-driver")
        pytest.skip("needs chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"):
        options.add_argument(argument)
    options.add_argument("--disable-background-networking")
    options.add_argument("--disable-dev-shm-usage")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: Any) -> Any:
    """The browser with an empty page of the usual size; tests of it are marked `chromium`."""
    chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    chromium.get("about:blank")
    chromium.get_log("browser")  # what other pages left there
    return chromium
