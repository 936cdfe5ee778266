"""The page of discovery in a real browser: nothing is cut on a phone or on a desk."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from selenium.webdriver.common.by import By

from rllib_seq.journeys.event_log import load_events
from rllib_seq.journeys.patterns import discover
from rllib_seq.journeys.report import write_report

pytestmark = pytest.mark.chromium


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A log with long names, many channels, drift, delays and prices."""
    rng = np.random.default_rng(0)
    n, folder = 6000, tmp_path_factory.mktemp("page")
    day = rng.integers(0, 28, n)
    micros = (20_000 + day) * 86_400 * 10**6 + rng.integers(0, 86_400 * 10**6, n)
    channels = [f"a rather long name of a channel, number {i}" for i in range(15)]
    table = pa.table(
        {
            "timestamp": pa.array(micros).cast(pa.timestamp("us", "UTC")),
            "user_id": pa.array(rng.integers(0, 900, n)).cast(pa.string()),
            "event": rng.choice(["impression", "click", "conversion"], n, p=[0.8, 0.15, 0.05]),
            "channel": np.array(channels)[np.minimum(rng.geometric(0.2, n), 14)],
            "segment": rng.choice(["people-who-came-by-newsletter", "others"], n),
            "market_price": rng.lognormal(4 + 0.02 * day, 0.4, n),
            "value": rng.lognormal(8, 1, n),
        }
    )
    pyarrow.parquet.write_table(table, folder / "e.parquet")
    patterns = discover(load_events(folder / "e.parquet"))
    write_report(patterns, folder / "discover.html")
    return folder / "discover.html"


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut(browser, page, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    cut = browser.execute_script(
        "return [...document.querySelectorAll('.scroll, td, th, figure')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1)"
        ".map(e => e.tagName + ' ' + e.textContent.slice(0, 80))"
    )
    assert cut == []
    assert len(browser.find_elements(By.CSS_SELECTOR, ".plotly svg.main-svg")) > 5
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "modelled" in text
    assert "(none)" not in text
