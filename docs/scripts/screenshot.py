"""Photographs a page that rllib-seq wrote, for the README.

    python docs/scripts/screenshot.py runs/RUN/report.html docs/pictures/report.png --height 1500
    python docs/scripts/screenshot.py runs/RUN/report.html docs/pictures/report-phone.png \
        --width 390 --dark

Needs Debian's chromium and chromium-driver, and selenium (`pip install -e ".[dev]"`).
"""

from __future__ import annotations

import argparse
import base64
import shutil
import tempfile
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service


def photograph(
    page: Path, picture: Path, width: int, height: int, dark: bool, section: str | None
) -> None:
    """Writes a PNG of the top of a page, or of what follows a heading.

    Args:
        page: an HTML file.
        picture: where the PNG goes.
        width: of the window, CSS pixels; 390 is a phone.
        height: of the picture, CSS pixels.
        dark: as a reader in dark mode sees it.
        section: text of the second-level heading to begin with; None: the top.
    """
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    with tempfile.TemporaryDirectory() as profile:
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"):
            options.add_argument(argument)
        options.add_argument(f"--user-data-dir={profile}")
        driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
        try:
            _emulate(driver, width, height, dark)
            driver.get(page.resolve().as_uri())
            top = 0 if section is None else _top(driver, section)
            clip = {"x": 0, "y": top, "width": width, "height": height, "scale": 1}
            shot = driver.execute_cdp_cmd(
                "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
            )
        finally:
            driver.quit()
    picture.write_bytes(base64.b64decode(shot["data"]))


def _emulate(driver: Any, width: int, height: int, dark: bool) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if width < 600 else 1}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, "mobile": False})
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def _top(driver: Any, section: str) -> float:
    headings = "return [...document.querySelectorAll('h2')].map(part => [part.textContent, "
    places = dict(driver.execute_script(headings + "part.getBoundingClientRect().top + scrollY])"))
    if section not in places:
        raise SystemExit(f"no section {section!r}; choose one of: {', '.join(places)}")
    return float(places[section])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--width", type=int, default=1080)
    parser.add_argument("--height", type=int, default=844)
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--section")
    photograph(**vars(parser.parse_args()))
