"""Draws the pictures of the documentation: `python docs/scripts/pictures.py`.

- `docs/pictures/journey.gif`: one user's journey, request by request, as the shipped policy bids.
  Hidden stage, belief of Bayes' rule, bids and market prices are those of the simulator.
- `docs/pictures/ad-auction.png`: what `AdAuction-v0` renders, in the middle of a campaign.
- the other environments, by `environment_pictures.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import environment_pictures
import gymnasium as gym
from PIL import Image, ImageDraw, ImageFont

import rllib_seq  # noqa: F401, registers the environment
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.serving.exported.policy import load_policy
from rllib_seq.serving.exported.spec import SHIPPED
from rllib_seq.training.evaluation.exports import ExportedActor
from rllib_seq.training.evaluation.policies import TrainedBids
from rllib_seq.training.evaluation.showcase import record

PICTURES = Path(__file__).parents[1] / "pictures"
WIDTH, HEIGHT = 800, 470
LEFT, RIGHT = 96, 780
STAGE, BELIEF, BIDS = (44, 76), (104, 224), (264, 404)  # top and bottom of each panel
INK, FAINT, PANEL = "#1f2937", "#9ca3af", "#f3f4f6"
OURS, BAYES, WON, LOST = "#2563eb", "#f59e0b", "#059669", "#9ca3af"
STAGES = ("#dbeafe", "#93c5fd", "#3b82f6", "#1e3a8a")
MARKS = {"converted": ("$", "#dc2626"), "clicked": ("c", "#b45309"), "visited": ("v", "#6d28d9")}


def journey(num_users: int = 1024) -> tuple[dict[str, Any], dict[str, Any]]:
    """The longest journey of a campaign that ends with a conversion, and the campaign."""
    bidder = TrainedBids(ExportedActor(load_policy(SHIPPED)), False)
    campaign = record(bidder, AuctionConfig(num_users=num_users))
    ends = [each for each in campaign["journeys"] if each["outcome"] == "converted"]
    return campaign, max(ends, key=lambda each: len(each["requests"]))


def frame(requests: list[dict[str, Any]], shown: int, stages: list[str], most: float) -> Any:
    """The first `shown` requests of a journey."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    small, large = ImageFont.load_default(13), ImageFont.load_default(16)
    now = requests[shown - 1]
    title = f"One user, request {shown}, hour {now['hour']:.0f}, {now['channel']}"
    draw.text((LEFT, 12), title, INK, large)
    for (top, bottom), name in (
        (STAGE, "hidden\nstage"),
        (BELIEF, "belief of\nBayes' rule"),
        (BIDS, "bids and\nprices"),
    ):
        draw.rectangle((LEFT, top, RIGHT, bottom), PANEL)
        draw.multiline_text((10, (top + bottom) / 2 - 16), name, INK, small)
    step = (RIGHT - LEFT) / len(requests)
    points: dict[str, list[tuple[float, float]]] = {"bid": [], "bayes_bid": []}

    def height(price: float) -> float:
        return BIDS[1] - 4 - (BIDS[1] - BIDS[0] - 10) * min(price / most, 1.0)

    for i, request in enumerate(requests[:shown]):
        left, right = LEFT + i * step, LEFT + (i + 1) * step - 1
        middle = (left + right) / 2
        draw.rectangle((left, STAGE[0], right, STAGE[1]), STAGES[request["stage"]])
        bottom = float(BELIEF[1])
        for color, share in zip(STAGES, request["belief"], strict=True):
            top = bottom - share * (BELIEF[1] - BELIEF[0])
            if bottom - top >= 1:
                draw.rectangle((left, top, right, bottom), color)
            bottom = top
        for name, line in points.items():
            line.append((middle, height(request[name])))
        price = height(request["market_price"])
        color = WON if request["won"] else LOST
        draw.ellipse((middle - 4, price - 4, middle + 4, price + 4), color)
        for name, (sign, ink) in MARKS.items():
            if request[name]:
                draw.text((middle - 4, BIDS[1] + 4), sign, ink, large)
                break
    for name, color in (("bayes_bid", BAYES), ("bid", OURS)):
        if shown > 1:
            draw.line(points[name], color, 3)
    _legend(draw, small, 236, list(zip(stages, STAGES, strict=True)))
    entries = [("our bid", OURS), ("Bayes' bid", BAYES)]
    entries += [("price, won", WON), ("price, lost", LOST)]
    _legend(draw, small, 436, entries)
    right = LEFT + 430.0
    draw.text((right, 434), "v visit   c click   $ conversion", INK, small)
    return image


def campaign_picture(requests: int = 700) -> Any:
    """A campaign of preset display after so many requests, with the same bid for each."""
    env = gym.make("AdAuction-v0", preset="display", num_users=256, render_mode="rgb_array")
    env.reset(seed=1)
    for _ in range(requests):
        env.step(6)
    return Image.fromarray(env.render())


PLAIN = {
    "ad-auction": campaign_picture,
    "ad-campaign": environment_pictures.ad_campaign,
    "multi-user-ad-auction": environment_pictures.users,
    "auction-log": environment_pictures.auction_log,
    "shared-market": environment_pictures.shared_market,
}
"""What is drawn without a trained policy, by the name of its file."""


def _legend(draw: Any, font: Any, top: int, entries: list[tuple[str, str]]) -> None:
    left = float(LEFT)
    for name, color in entries:
        draw.rectangle((left, top, left + 11, top + 11), color)
        draw.text((left + 16, top - 2), name, INK, font)
        left += 34 + draw.textlength(name, font)


def main() -> None:
    """Writes the pictures."""
    for name, draw in PLAIN.items():
        draw().save(PICTURES / f"{name}.png", optimize=True)
    campaign, chosen = journey()
    requests = chosen["requests"]
    most = max(max(each["bid"], each["bayes_bid"]) for each in requests) * 1.15
    frames = [
        frame(requests, shown, campaign["stages"], most) for shown in range(1, len(requests) + 1)
    ]
    colors = frames[-1].quantize(64)
    frames = [each.quantize(palette=colors, dither=Image.Dither.NONE) for each in frames]
    times = [450] * (len(frames) - 1) + [4000]
    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / "journey.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=times, loop=0)
    print(f"{path}: {len(frames)} pictures, {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
