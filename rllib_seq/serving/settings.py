"""What an operator chooses.

- `Settings`: every choice with its default, checked.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.prices import UNITS, PriceKeys

PACING = ("none", "proportional", "pid", "dual")


@dataclass(frozen=True)
class Settings:
    """Settings of a bid server.

    Raises:
        UserError: a value is out of range.
    """

    export: str
    """Folder of the export; a new one that is written there is taken over at once."""
    state: str = "bid-server.sqlite"
    """Where spend, notices and sessions are kept: a file, `:memory:`, or `redis://HOST:PORT/DB`."""
    budget: float | None = None
    """Hard limit on spend in currency units; None: that of the world of the training."""
    flight_hours: float | None = None
    """How long the campaign runs from the first start on; None: as in the training."""
    creatives: str | None = None
    """File of what is shown (TOML or JSON), see `openrtb.creatives`; None: the shipped example."""
    deals: str | None = None
    """File of deals that are held, see `openrtb.terms`; None: no deal is bid on."""
    rates: str | None = None
    """File of rates by which floors in other currencies are converted."""
    ids: tuple[str, ...] = ("buyeruid", "eids", "ifa", "id")
    """By which ids users are known, the best first; `eids:SOURCE` is one source."""
    currency: str = "USD"
    """Of prices; other requests get no bid. Prices over HTTP are per thousand impressions."""
    max_users: int = 131_072
    """Users in memory; the others are in the state file or in Redis."""
    session_hours: float = 720.0
    """A user who has not been seen for so long starts again."""
    tmax_ms: float = 100.0
    """Most time for an answer, unless the request's own `tmax` is shorter."""
    margin_ms: float = 5.0
    """Of that, kept for the way back."""
    max_batch: int = 64
    """Most users in one run of the model."""
    hold_seconds: float = 300.0
    """How long a bid holds (`exp`): until then, or until a notice, its budget is set aside."""
    cap: int = 0
    """Most impressions per user within `cap_hours`; 0: no frequency cap."""
    cap_hours: float = 24.0
    charge: str = "win"
    """What spends: the first of "win" and "billing" notices, or "billing" alone."""
    price_unit: str = "cpm"
    """Of prices in notices that are not encrypted: "cpm", or "micros" (millionths of it)."""
    price_keys: PriceKeys | None = field(default=None, repr=False)
    """Of encrypted prices; None: there are none."""
    max_conversions: int = 10
    """Most conversions of a bid; further ones are ignored. Without a win there is none."""
    max_conversion_value: float | None = None
    """Most value of one, currency units; None: ten times that of the training."""
    notice_days: float = 30.0
    """How long notices are known, and those about a bid are taken."""
    pacing: str = "none"
    """A rule of `envs.ad_auction.market.pacing` that scales the policy's bids; needs a budget."""
    pacing_minutes: float = 30.0
    """How often it decides."""
    explore: float = 0.0
    """Share of requests that get a random action, for what is to be learned from the records."""
    record: str | None = None
    """Folder for served trajectories (Parquet), which `rllib-seq train --offline` reads."""
    record_gb: float = 20.0
    """Of that folder; when it is as large, nothing more is recorded."""
    public_url: str = ""
    """Where exchanges and sites reach this server; begins the URLs of notices."""
    token: str | None = field(default=None, repr=False)
    """What requests must show; needed unless the server is reached from this machine alone."""
    user_secret: str | None = field(default=None, repr=False)
    """Key of the hash that stands for user ids; None: a public hash."""
    max_body_bytes: int = 1_048_576
    """Larger bodies are refused."""
    max_imps: int = 256
    """Requests with more impressions are refused."""
    max_connections: int = 4096
    """Open at a time; further ones are closed at once (one process)."""
    max_connections_per_address: int = 1024
    """Of them, from one address."""
    head_seconds: float = 5.0
    """A head that takes longer to come is refused, and an idle new connection closed."""
    body_seconds: float = 5.0
    """A body that takes longer to come is refused."""

    def __post_init__(self) -> None:
        """Checks every value."""
        for each in dataclasses.fields(self):
            value = getattr(self, each.name)
            option = "--" + each.name.replace("_", "-")
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            lowest = 0.0 if each.name in _MAY_BE_ZERO else math.ulp(0.0)
            if not lowest <= value < math.inf:
                rule = "of at least 0" if lowest == 0 else "above 0"
                raise UserError(f"{option} is {value}; give a number {rule}")
        if self.explore > 1:
            raise UserError(f"--explore is {self.explore}; give a share from 0 to 1")
        if self.margin_ms >= self.tmax_ms:
            raise UserError(
                f"--margin-ms is {self.margin_ms}; give less than --tmax-ms, {self.tmax_ms}"
            )
        if self.pacing not in PACING:
            raise UserError(f"--pacing is {self.pacing!r}; choose one of: {', '.join(PACING)}")
        if self.price_unit not in UNITS:
            raise UserError(
                f"--price-unit is {self.price_unit!r}; choose one of: {', '.join(UNITS)}"
            )
        if self.charge not in ("win", "billing"):
            raise UserError(f"--charge is {self.charge!r}; choose one of: win, billing")
        if self.public_url and not _is_address(self.public_url):
            raise UserError(
                f"--public-url is {self.public_url!r}; give https:// or http://, a host, and maybe "
                "a port and a path"
            )
        if not re.fullmatch("[A-Za-z]{3}", self.currency):
            raise UserError(f"--currency is {self.currency!r}; give a code such as USD or EUR")
        if self.cap > _MOST_CAP:
            raise UserError(f"--cap is {self.cap}; give at most {_MOST_CAP}, or 0 for no cap")
        if self.token is not None and len(self.token) < 16:
            raise UserError("RLLIB_SEQ_TOKEN is shorter than 16 characters; give a longer one")


def _is_address(url: str) -> bool:
    """Whether paths can be put behind it."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    return bool(known) and not re.search(r"[\s\\?#@]", url)


_MOST_CAP = 1000  # 24 bytes of every user for each
_MAY_BE_ZERO = ("budget", "cap", "margin_ms", "explore", "max_conversions")
