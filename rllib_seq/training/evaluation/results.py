"""What evaluations find; `to_json` of each is the content of an `evaluation.json`.

- `CampaignEvaluation`: a policy beside the references in a simulated world; `PolicyRow`,
  `PolicySummary`, `Interval`, `HeadCalibration`
- `ReplayEvaluation`: on the held-out days of a log; `ReplayRow`, `ReplaySummary`, `LogFacts`
- `EpisodeEvaluation`: in any other environment
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from rllib_seq.training.acting.evaluation import PolicyEvaluation
from rllib_seq.training.evaluation.calibration import Scorecard, TruthScores
from rllib_seq.training.evaluation.showcase import RecordedCampaign


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval (Student's t); no width where one sample is all there is."""

    mean: float
    half_width: float | None


@dataclass(frozen=True)
class PolicyRow:
    """A policy on the campaigns of one seed; None where undefined. Money in currency units."""

    policy: str
    signal: str | None
    seed: int
    profit: float
    profit_per_user: float
    spend: float
    budget: float | None
    requests: int
    wins: int
    win_rate: float | None
    clicks: int
    conversions: int
    censored_conversions: int
    cpa: float | None
    roas: float | None
    pct_of_bayes: float | None
    pct_of_optimum: float | None
    pct_of_full_information: float | None


@dataclass(frozen=True)
class PolicySummary:
    """A policy on all campaigns."""

    policy: str
    signal: str | None
    profit_per_user: Interval
    over_memoryless: Interval
    pct_of_bayes: float | None
    pct_of_optimum: float | None
    beats_memoryless_on_seeds: int


@dataclass(frozen=True)
class UpperBound:
    """What no policy can exceed, see `references.optimum`."""

    upper_bound_per_user: float
    grid_points: int


@dataclass(frozen=True, kw_only=True)
class KnownTruth(TruthScores):
    """Scores of a head where true probabilities are known."""

    requests: int
    futures: int | None
    """Played of each request to estimate its true probability; None where that is exact."""


@dataclass(frozen=True, kw_only=True)
class HeadCalibration(Scorecard):
    """Scores of an auxiliary head."""

    head: str
    horizon: int
    given_action: bool
    truth: KnownTruth | None


@dataclass(frozen=True)
class CampaignEvaluation:
    """A policy beside the references on the same fresh campaigns."""

    preset: str
    world_seed: int | None
    checkpoint: str
    seeds: list[int]
    episodes: int
    num_users: int
    optimum: UpperBound | None
    policies: list[PolicyRow]
    summary: list[PolicySummary]
    over_others: dict[str, Interval]
    """Profit per user over other trained policies, by their names."""
    campaign: RecordedCampaign
    """One campaign to draw."""
    calibration: list[HeadCalibration]
    """Of the auxiliary heads, see `forecasts.calibrate`."""

    def to_json(self) -> dict[str, Any]:
        """Without other policies and auxiliary heads where there are none."""
        content = dataclasses.asdict(self)
        for name in ("over_others", "calibration"):
            if not content[name]:
                del content[name]
        return content


@dataclass(frozen=True, kw_only=True)
class ReplayRow:
    """A policy on the held-out days of a log; None where a log does not tell."""

    policy: str
    signal: str
    seed: None = None
    profit: None = None
    spend: float
    budget: float
    requests: int
    wins: int
    win_rate: float
    clicks: int
    gains: float
    expected_clicks: float
    conversions: None = None
    cpa: None = None
    cpc: float | None
    expected_cpc: float | None
    roas: None = None
    pct_of_bayes: None = None
    pct_of_optimum: None = None
    pct_of_full_information: float | None


@dataclass(frozen=True)
class ReplaySummary:
    """What a policy gets per episode over linear bids."""

    policy: str
    over_linear: Interval


@dataclass(frozen=True)
class LogDays:
    """A part of a log."""

    days: list[str]
    requests: int
    clicks: int


@dataclass(frozen=True)
class LogFacts:
    """A log and how it was replayed."""

    files: list[str]
    train: LogDays
    held_out: LogDays
    budget_ratio: float
    episode_requests: int
    auction: str
    stream: str
    gain: str
    worth: str
    mean_price: float
    mean_click_probability: float
    linear_base: float


@dataclass(frozen=True, kw_only=True)
class ReplayEvaluation:
    """A policy beside the references on the held-out days of a log; nothing is drawn."""

    preset: str = "log"
    checkpoint: str
    seeds: list[None] = field(default_factory=lambda: [None])
    episodes: int
    log: LogFacts
    ranked_by: str
    policies: list[ReplayRow]
    summary: list[ReplaySummary]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class EpisodeEvaluation:
    """A policy outside the ad auction, where nothing is known to compare with."""

    env: str
    checkpoint: str
    seed: int
    episodes: int
    found: PolicyEvaluation

    def to_json(self) -> dict[str, Any]:
        """The preset is None: it is none of the ad auction."""
        return {
            "preset": None,
            "env": self.env,
            "checkpoint": self.checkpoint,
            "seeds": [self.seed],
            "episodes": self.episodes,
            "return": self.found.to_json(),
        }


Evaluation = CampaignEvaluation | ReplayEvaluation | EpisodeEvaluation
