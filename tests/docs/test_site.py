"""The built site: complete, without a network, on a phone and in the dark."""

import http.server
import re
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import griffe
import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "docs" / "scripts"
# One page of each kind, those with the widest tables and code.
WIDE = (
    "index",
    "guides/serving",
    "environments/auctions",
    "algorithms/ppo-outcomes",
    "results/learning",
)
WIDE += ("reference/command-line", "reference/settings", "reference/api/rllib_seq.nn")


@pytest.fixture(scope="module")
def api():
    """docs/scripts/reference_api.py."""
    namespace = {"__file__": str(SCRIPTS / "reference_api.py")}
    exec((SCRIPTS / "reference_api.py").read_text(), namespace)
    return namespace


def packages():
    """Every package of ours that says what is public."""
    for folder in (ROOT / "rllib_seq", ROOT / "envs"):
        for file in folder.rglob("__init__.py"):
            if "__all__" in file.read_text() and "envs" not in file.relative_to(folder).parts[:1]:
                name = ".".join(file.relative_to(ROOT).parts[:-1])
                yield f"rllib_seq.{name}" if folder.name == "envs" else name


def test_every_package_with_public_names_has_a_page(api):
    assert set(packages()) <= {*api["ROOMS"], *api["INTERNAL"]}
    assert all(api["public_names"](room) for room in api["ROOMS"])


@pytest.mark.slow
def test_every_public_name_has_a_docstring(api):
    package = griffe.load("rllib_seq", search_paths=[ROOT], resolve_aliases=True)
    for room in api["ROOMS"]:
        for name in api["public_names"](room):
            found = package[f"{room}.{name}".removeprefix("rllib_seq.")]
            assert found.docstring, f"{room}.{name}"


def test_tables_of_results_are_current():
    command = [sys.executable, str(SCRIPTS / "results.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_every_public_name_is_on_its_page(site, api):
    for room in api["ROOMS"]:
        page = (site / "reference" / "api" / f"{room}.html").read_text()
        for name in api["public_names"](room):
            assert f'id="{room}.{name}"' in page, f"{room}.{name}"


@pytest.mark.slow
def test_nothing_comes_from_elsewhere(site):
    for page in site.rglob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe)\b[^>]*>", page.read_text()):
            assert not re.search(r'(?:src|href)="(?:https?:)?//', tag), f"{page.name}: {tag}"


@pytest.mark.slow
def test_formulas_are_mathml(site):
    page = (site / "algorithms" / "lift.html").read_text()
    assert "<math" in page and 'class="arithmatex"' not in page


@pytest.fixture
def address(site):
    """The site over HTTP."""
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    handler.log_message = lambda *args: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
@pytest.mark.chromium
def test_pages_fit_a_phone_in_the_dark(site, address, browser):
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    for page in WIDE:
        browser.get(f"{address}/{page}.html")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390, f"{page} is {width} pixels wide"
        scheme = browser.execute_script("return document.body.dataset.mdColorScheme")
        assert scheme == "slate", page
        errors = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert not errors, f"{page}: {errors}"
