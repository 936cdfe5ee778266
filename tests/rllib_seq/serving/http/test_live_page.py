"""The live page in a real browser."""

import pytest
from selenium.webdriver.common.by import By
from serving_helpers import Client, bid_on, path_of, running, wait_for

from rllib_seq.serving.settings import Settings

pytestmark = pytest.mark.chromium


def test_figures_move(journey, browser):
    settings = Settings(export=str(journey.folder), state=":memory:", max_users=512, budget=2.0)
    with running(settings) as (port, _):
        client = Client(port)
        browser.get(f"http://127.0.0.1:{port}/")

        def text(element):
            return browser.find_element(By.ID, element).text

        wait_for(lambda: text("state").startswith("model"))
        assert text("spend") == "0"
        for i in range(5):
            bid = bid_on(client, f"user {i}")
            client("GET", path_of(bid["nurl"], 20.0))
        wait_for(lambda: text("spend") == "0.1")
        assert text("counts") == "5, 0, 0"
        assert text("win_rate").endswith("%")
        assert text("plan").endswith("of 2")
        assert int(text("users")) == 5
        errors = [row for row in browser.get_log("browser") if row["level"] == "SEVERE"]
        assert [row for row in errors if "favicon" not in row["message"]] == []
