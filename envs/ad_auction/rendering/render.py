"""A campaign as a picture: spend against plan, bids against market prices, journeys.

- `draw`: the picture, RGB.
- `Screen`: shows pictures on the screen; needs nothing but Python's own tkinter.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rllib_seq.envs.ad_auction.rendering.canvas import Canvas, Color
from rllib_seq.envs.ad_auction.simulator.events import EVENTS
from rllib_seq.envs.ad_auction.simulator.step import AuctionSimulator

Floats = NDArray[np.float64]

RENDER_FPS = 10
WIDTH, HEIGHT = 720, 600
LEFT, RIGHT = 60, 700
MOST_JOURNEYS = 24

INK: Color = (38, 42, 51)
FAINT: Color = (206, 211, 220)
PANEL: Color = (246, 247, 250)
BLUE: Color = (47, 111, 209)
GREEN: Color = (31, 157, 102)
ORANGE: Color = (232, 137, 28)
RED: Color = (209, 58, 66)


def draw(simulator: AuctionSimulator) -> NDArray[np.uint8]:
    """Draws the first campaign so far.

    Args:
        simulator: records its events.

    Returns:
        uint8 `[600, 720, 3]`.
    """
    assert simulator.events is not None
    log = simulator.events.columns()
    canvas = Canvas(WIDTH, HEIGHT)
    end = max(simulator.flight_hours, simulator.hour)  # without an end of the flight a guess
    request = log["event"] == EVENTS.index("request")
    hour, bid, market = log["hour"][request], log["price"][request], log["market_price"][request]
    won = (bid > 0) & (bid >= np.maximum(market, simulator.preset.floor))
    paid = np.where(won, np.maximum(market, simulator.preset.floor), 0.0)
    if simulator.preset.auction == "first_price":
        paid = np.where(won, bid, 0.0)
    _spend(canvas, hour, np.cumsum(paid), simulator.ledger.budget, end)
    _prices(canvas, hour, bid, market, won, end)
    _journeys(canvas, log, end)
    clock = f"hour {simulator.hour:.0f}"
    if np.isfinite(simulator.preset.flight_hours):
        clock += f" of {end:.0f}"
    canvas.text(LEFT, HEIGHT - 16, clock, INK)
    return canvas.pixels


def _x(hour: Floats | float, end: float) -> Any:
    return LEFT + (RIGHT - LEFT) * np.minimum(np.asarray(hour) / end, 1.0)


def _panel(canvas: Canvas, top: int, bottom: int, title: str) -> None:
    canvas.box(LEFT, top, RIGHT, bottom, PANEL)
    canvas.text(LEFT, top - 16, title, INK)


def _legend(canvas: Canvas, top: int, entries: list[tuple[str, Color]]) -> None:
    left = RIGHT - sum(8 * len(name) + 26 for name, _ in entries)
    for name, color in entries:
        canvas.box(left, top + 2, left + 8, top + 8, color)
        canvas.text(left + 13, top, name, INK)
        left += 8 * len(name) + 26


def _spend(canvas: Canvas, hours: Floats, spent: Floats, budget: float, end: float) -> None:
    top, bottom = 32, 172
    planned = np.isfinite(budget)
    _panel(canvas, top, bottom, "spend against plan" if planned else "spend")
    _legend(canvas, top - 16, [("spend", BLUE), ("plan", FAINT)][: 1 + planned])
    most = budget if planned else max(float(spent.max(initial=0.0)), 1e-9)
    if planned:
        canvas.line([LEFT, RIGHT], [bottom - 2, top + 1], FAINT, dash=6)
    height = bottom - top - 3
    canvas.line(_x(hours, end), bottom - 2 - height * np.minimum(spent / most, 1.0), BLUE)
    canvas.text(4, top, f"{most:.4g}", INK)
    canvas.text(4, bottom - 10, "0", INK)


def _prices(
    canvas: Canvas, hour: Floats, bid: Floats, market: Floats, won: Any, end: float
) -> None:
    top, bottom = 212, 352
    _panel(canvas, top, bottom, "bids against prices")
    _legend(canvas, top - 16, [("market", FAINT), ("lost", RED), ("won", GREEN)])
    most = max(np.quantile(market, 0.98), bid.max(), 1e-9) if len(bid) else 1.0
    height = bottom - top - 5
    for chosen, value, color in (
        (slice(None), market, FAINT),
        (~won & (bid > 0), bid, RED),
        (won, bid, GREEN),
    ):
        y = bottom - 3 - height * np.minimum(value[chosen] / most, 1.0)
        canvas.dots(_x(hour[chosen], end), y, color, size=3)
    canvas.text(4, top, f"{most:.3g}", INK)
    canvas.text(4, bottom - 10, "0", INK)


def _journeys(canvas: Canvas, log: dict[str, Floats], end: float) -> None:
    top, bottom = 392, 572
    _panel(canvas, top, bottom, "journeys")
    kinds: list[tuple[str, Color, int]] = [
        ("request", FAINT, 3),
        ("impression", BLUE, 4),
        ("visit", GREEN, 5),
        ("click", ORANGE, 5),
        ("conversion", RED, 7),
    ]
    _legend(canvas, top - 16, [(name, color) for name, color, _ in kinds])
    # The users who were active last, one line each, so that a long campaign stays readable.
    users, newest = np.unique(log["user"][::-1], return_index=True)
    shown = np.sort(users[np.argsort(newest)[:MOST_JOURNEYS]])
    if len(shown) == 0:
        return
    step = (bottom - top) / MOST_JOURNEYS
    rows = np.searchsorted(shown, log["user"])
    known = np.isin(log["user"], shown)
    y = top + step * (rows + 0.5)
    for row in range(len(shown)):
        mine = _x(log["hour"][known & (rows == row)], end)
        canvas.line([mine.min(), mine.max()], [top + step * (row + 0.5)] * 2, (232, 235, 241))
    for name, color, size in kinds:
        chosen = known & (log["event"] == EVENTS.index(name))
        canvas.dots(_x(log["hour"][chosen], end), y[chosen], color, size)


class Screen:
    """A window that shows pictures, at most `RENDER_FPS` of them a second.

    Raises:
        ValueError: there is no screen.
    """

    def __init__(self) -> None:
        import tkinter

        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise ValueError(
                f"render_mode='human' needs a screen ({error}); use render_mode='rgb_array'"
            ) from None
        self._root.title("AdAuction-v0")
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self._image: Any = None
        self._shown = -np.inf

    @property
    def due(self) -> bool:
        """Whether the last picture has been up for long enough."""
        return time.monotonic() - self._shown >= 1 / RENDER_FPS

    def show(self, pixels: NDArray[np.uint8]) -> None:
        """Puts a picture up."""
        import tkinter

        height, width, _ = pixels.shape
        data = b"P6 %d %d 255 " % (width, height) + pixels.tobytes()
        self._image = tkinter.PhotoImage(master=self._root, data=data, format="PPM")
        self._label.configure(image=self._image)
        self._root.update()
        self._shown = time.monotonic()

    def close(self) -> None:
        """Takes the window away."""
        self._root.destroy()
