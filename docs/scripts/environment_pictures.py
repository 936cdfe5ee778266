"""A picture for each environment that draws none itself; `pictures.py` writes them.

- `ad_campaign`, `users`, `auction_log`, `shared_market`: by environment
- `chart`: lines and dots with axes
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from PIL import Image, ImageDraw, ImageFont

import rllib_seq  # noqa: F401, registers the environments
from rllib_seq.envs.ad_auction.log_replay.auction_log import AuctionLog
from rllib_seq.envs.ad_auction.log_replay.world import ReplayConfig, ReplayWorld
from rllib_seq.envs.ad_auction.multi_agent_env import MultiUserAdAuctionEnv
from rllib_seq.envs.ad_auction.self_play_env import SharedMarketEnv

WIDTH, HEIGHT = 800, 300
LEFT, TOP, RIGHT, BOTTOM = 70, 56, 780, 250
INK, FAINT, PANEL = "#1f2937", "#9ca3af", "#f3f4f6"
BLUE, AMBER, GREEN, GREY, RED = "#2563eb", "#f59e0b", "#059669", "#9ca3af", "#dc2626"


class Series(NamedTuple):
    """What is drawn in one color."""

    name: str
    color: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False


def chart(title: str, x: str, y: str, series: Sequence[Series]) -> Any:
    """Lines and dots over one pair of axes, from 0 to the largest value."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(13), ImageFont.load_default(16)
    draw.text((LEFT, 8), title, INK, large)
    draw.rectangle((LEFT, TOP, RIGHT, BOTTOM), PANEL)
    most_x = max(max(each.x, default=0) for each in series) or 1
    most_y = max(max(each.y, default=0) for each in series) * 1.05 or 1
    for share in (0.0, 0.5, 1.0):
        across, down = LEFT + share * (RIGHT - LEFT), BOTTOM - share * (BOTTOM - TOP)
        draw.text((across - 12, BOTTOM + 6), _number(share * most_x), FAINT, small)
        draw.text((LEFT - 44, down - 8), _number(share * most_y), FAINT, small)
    draw.text(((LEFT + RIGHT) / 2 - 90, BOTTOM + 24), x, INK, small)
    draw.text((LEFT, TOP - 20), y, INK, small)
    legend = 330.0
    for each in series:
        points = [
            (LEFT + a / most_x * (RIGHT - LEFT), BOTTOM - b / most_y * (BOTTOM - TOP))
            for a, b in zip(each.x, each.y, strict=True)
        ]
        if each.dots:
            for across, down in points:
                draw.ellipse((across - 3, down - 3, across + 3, down + 3), each.color)
        elif len(points) > 1:
            draw.line(points, each.color, 3)
        draw.rectangle((legend, TOP - 18, legend + 11, TOP - 7), each.color)
        draw.text((legend + 16, TOP - 20), each.name, INK, small)
        legend += 40 + draw.textlength(each.name, small)
    return image


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def ad_campaign() -> Any:
    """The share of the budget that is spent along a day: the pacing rule and a constant bid."""
    series = []
    for name, color, actions in (
        ("the pacing rule", BLUE, "around_pacing"),
        ("the worth of each request", AMBER, "multipliers"),
    ):
        env = gym.make(
            "AdCampaign-v0", world="mixed", days=1, requests_per_tick=2000, actions=actions
        )
        env.reset(seed=1)
        budget = env.unwrapped.simulator.ledger.budget
        hours, spent, done = [0.0], [0.0], False
        while not done:
            action = np.zeros(env.action_space.shape, np.float32)
            _, _, terminated, truncated, info = env.step(action)
            hours.append(len(hours) / 2)
            spent.append(100 * info["spend"] / budget)
            done = terminated or truncated
        series.append(Series(name, color, hours, spent))
    return chart("A flight of one day in the world mixed", "hour", "% of the budget spent", series)


def users(num_users: int = 16) -> Any:
    """Requests of some users along the clock that they share."""
    env = MultiUserAdAuctionEnv({"num_users": num_users})
    observations, _ = env.reset(seed=1)
    ticks: list[float] = []
    rows: list[float] = []
    tick = 0
    while observations:
        for user in observations:
            ticks.append(tick)
            rows.append(int(user.removeprefix("user_")) + 1)
        tick += 1
        actions = {user: 9 for user in observations}
        observations, _, ends, _, _ = env.step(actions)
        observations = {user: each for user, each in observations.items() if not ends.get(user)}
        if ends["__all__"]:
            break
    requests = Series("a request: this user acts in this step", BLUE, ticks, rows, dots=True)
    return chart("Who acts when", "step of the environment", "user", [requests])


def auction_log(hours: int = 400) -> Any:
    """Prices of a made-up log, and which of them the linear bid reaches."""
    rng = np.random.default_rng(1)
    zeros = np.zeros(hours, np.int64)
    price = rng.lognormal(0.5, 0.5, hours)
    log = AuctionLog(
        np.arange(hours) * 3_600_000_000, zeros, price, rng.random(hours) < 0.1, {}, {}
    )
    world = ReplayWorld(log, ReplayConfig(budget_ratio=0.5))
    env = gym.make("AuctionLog-v0", world=world)
    env.reset(seed=1)
    spent, won, lost, paid, done = [0.0], [0.0], [0.0], 0.0, False
    wins = losses = 0
    while not done:
        _, _, terminated, truncated, info = env.step(np.int64(5))
        wins, losses, paid = (
            wins + int(info["won"]),
            losses + int(not info["won"]),
            paid + info["paid"],
        )
        won.append(wins)
        lost.append(losses)
        spent.append(paid)
        done = terminated or truncated
    steps = list(range(len(won)))
    return chart(
        "An episode of a log, bid on with one multiplier of the linear bid",
        "auction of the episode",
        "so far",
        [
            Series("won", GREEN, steps, won),
            Series("lost", GREY, steps, lost),
            Series("paid", AMBER, steps, spent),
        ],
    )


def shared_market(requests: int = 1000) -> Any:
    """What a share of the value earns against another who bids half of theirs: first price."""
    shares = np.linspace(0.0, 1.0, 21)
    earned = []
    for share in shares:
        env = SharedMarketEnv({"num_advertisers": 2})
        observations, _ = env.reset(seed=1)
        total, served = 0.0, 0
        while served < requests:
            if not observations:
                observations, _ = env.reset()
            bids = {"advertiser_0": np.float32([share]), "advertiser_1": np.float32([0.5])}
            observations, rewards, ends, _, _ = env.step(bids)
            total, served = total + rewards["advertiser_0"], served + 1
            if ends["__all__"]:
                observations = {}
        earned.append(total / requests)
    best = [Series("earned per request", BLUE, shares.tolist(), earned)]
    best.append(Series("the equilibrium: half", RED, [0.5], [earned[10]], dots=True))
    return chart("Two advertisers, first price", "share of the value that is bid", "reward", best)
