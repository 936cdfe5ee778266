"""The report of a run in a real browser: whole, fit for a phone, the dark and the keyboard."""

from dataclasses import asdict

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from rllib_seq.envs.ad_auction.references.baselines import SignalBids
from rllib_seq.envs.ad_auction.references.oracles import best_memoryless
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.training.evaluation.campaigns import evaluate, references, rows, summarize
from rllib_seq.training.evaluation.showcase import record
from rllib_seq.training.reports.run_report import write_report
from rllib_seq.training.run.iterations import COLUMNS
from rllib_seq.training.storage.files import write_json
from rllib_seq.training.storage.run_folder import RunFolder

pytestmark = pytest.mark.chromium

WORLD = AuctionConfig(preset="journey", num_users=64)
CONFIG = {"module": "a.module", "algorithm": "PPO", "env_config": {"preset": "journey"}}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """The page of a run that had learned to bid without memory."""
    run = RunFolder.create(tmp_path_factory.mktemp("runs"), "ppo-journey", CONFIG)
    for iteration in (1, 2):
        numbers = {
            "iteration": iteration,
            "steps": 100 * iteration,
            "pct_of_bayes": 20.0 * iteration,
        }
        run.append_progress({name: numbers.get(name, 1.0) for name in COLUMNS})
    bidder = SignalBids("trained", best_memoryless(WORLD.build_preset()).bids)
    campaigns = evaluate([bidder, *references(WORLD.build_preset())], WORLD, [7], 2)
    evaluation = {
        "preset": "journey",
        "seeds": [7],
        "episodes": 2,
        "num_users": WORLD.num_users,
        "policies": [asdict(row) for row in rows(campaigns)],
        "summary": [asdict(row) for row in summarize(campaigns)],
        "campaign": asdict(record(bidder, WORLD)),
    }
    write_json(run.path / "evaluation.json", evaluation)
    return write_report(run), evaluation


@pytest.fixture
def page(browser, report):
    browser.get(report[0].as_uri())
    return browser


def test_all_charts_are_drawn_and_nothing_fails(page, report):
    figures = page.find_elements(By.TAG_NAME, "figure")
    assert len(figures) == 5 + len(report[1]["campaign"]["journeys"])
    for figure in figures:
        drawing = figure.find_element(By.CSS_SELECTOR, ".plotly svg.main-svg")
        assert drawing.size["height"] > 100
        assert figure.find_elements(By.CSS_SELECTOR, ".trace path, .point, .points path")
        assert figure.find_element(By.TAG_NAME, "figcaption").text
    assert page.get_log("browser") == []


def test_the_table_says_what_was_measured(page, report):
    table = page.find_element(By.TAG_NAME, "table")
    rows_shown = table.find_elements(By.TAG_NAME, "tr")[1:]
    names = [row.find_element(By.TAG_NAME, "td").text for row in rows_shown]
    assert names == [row["policy"] for row in report[1]["summary"]]


def test_the_verdict_comes_first_and_every_policy_is_explained(page, report):
    """On a phone, too: above the links and the table, in the first screen."""
    _emulate(page, 390)
    verdict = page.find_element(By.CSS_SELECTOR, "main > .verdict")
    assert verdict.rect["y"] + verdict.rect["height"] < 844
    assert verdict.rect["y"] < page.find_element(By.TAG_NAME, "nav").rect["y"]
    assert verdict.text.startswith("PPO was trained for 1 seconds on 200 steps")
    trained = next(row for row in report[1]["summary"] if row["policy"] == "trained")
    assert f"{trained['pct_of_bayes']:.1f} % of Bayes' rule" in verdict.text
    assert "not measurably different from the best bidder without memory" in verdict.text
    explained = [term.text for term in page.find_elements(By.TAG_NAME, "dt")]
    assert explained == [row["policy"] for row in report[1]["summary"]]
    hints = page.find_elements(By.CSS_SELECTOR, "table tr[title]")
    assert len(hints) == len(explained)
    assert len(page.find_elements(By.CSS_SELECTOR, "ul.legend")) == 1


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_of_the_window(page, width):
    _emulate(page, width)
    assert page.execute_script("return innerWidth") == width
    # What is wider than the page scrolls in a box of its own.
    outside = (
        "return [...document.querySelectorAll('main *, nav *')]"
        ".filter(part => !part.parentElement.closest('.scroll, pre'))"
        ".filter(part => part.getBoundingClientRect().right > innerWidth + 0.5)"
        ".map(part => part.outerHTML.slice(0, 80))"
    )
    assert page.execute_script(outside) == []
    page_width = "return document.documentElement.scrollWidth"
    assert page.execute_script(page_width) <= width
    for drawing in page.find_elements(By.CSS_SELECTOR, "figure .plotly svg.main-svg"):
        assert drawing.size["width"] <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_light_and_dark(page, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    body = page.find_element(By.TAG_NAME, "body")
    paper, ink = (_luminance(body, name) for name in ("background-color", "color"))
    assert (paper < ink) == (scheme == "dark")
    for element in ["body", *[".plotly .xtick text", "figcaption", "td"]]:
        found = page.find_element(By.CSS_SELECTOR, element)
        name = "fill" if "text" in element else "color"
        lighter, darker = sorted((_luminance(found, name), paper), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= (3.0 if name == "fill" else 4.5)  # WCAG


def test_it_can_be_read_by_keyboard(page):
    """Tab reaches the links and every box that scrolls, and shows where it is."""
    seen = []
    wanted = page.find_elements(By.CSS_SELECTOR, "nav a, .scroll, summary")
    for _ in wanted:
        page.switch_to.active_element.send_keys(Keys.TAB)
        focused = page.switch_to.active_element
        assert focused.value_of_css_property("outline-style") == "solid"
        seen.append(focused)
    assert seen == wanted
    first = seen[0]
    page.execute_script("arguments[0].focus()", first)
    first.send_keys(Keys.ENTER)
    target = page.find_element(By.CSS_SELECTOR, first.get_attribute("hash"))
    assert abs(target.rect["y"] - page.execute_script("return scrollY")) < page.execute_script(
        "return innerHeight"
    )


def _emulate(page, width):
    """The window of a phone, or of a desktop."""
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.refresh()


def _luminance(element, name):
    """Relative luminance of a colour, as WCAG defines it, 0 to 1."""
    text = element.value_of_css_property(name)
    rgb = np.array([float(part) for part in text[text.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
