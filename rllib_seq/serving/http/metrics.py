"""Figures of a server: for Prometheus, and for the live page.

- `Metrics`: reads them off the service when someone asks; only latencies are written as they come.
"""

from __future__ import annotations

import contextlib
import math
import resource
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from rllib_seq.serving.http.connections import Connections
from rllib_seq.serving.http.server_metrics import PREFIX, ServerMetrics
from rllib_seq.serving.notices import NOTICES
from rllib_seq.serving.openrtb.eligibility import REASONS
from rllib_seq.serving.service import BidService

__all__ = ["Metrics"]

_NO_BIDS = (
    *REASONS,
    *("policy", "floor", "cap", "budget", "over", "late", "withdrawn", "error"),
)
_COMMONEST = 5
_OUTCOMES = ("counted", "known", "unknown", "ignored", "failed")


class Metrics(ServerMetrics):
    """The figures of one server.

    Args:
        service: that they are about.
        connections: the same; None: they are not counted here.
    """

    def __init__(self, service: BidService, connections: Connections | None) -> None:
        super().__init__("bid_seconds", "From a whole bid request to its answer.", connections)
        self._service = service
        self._started = time.monotonic()

    def collect(self) -> Iterator[Any]:
        """What the registry asks for."""
        counts = self._service.counts
        answers = CounterMetricFamily(
            PREFIX + "answers", "Answers to impressions, by why.", labels=["why"]
        )
        notices = CounterMetricFamily(
            PREFIX + "notices", "Notices, by kind and outcome.", labels=["kind", "outcome"]
        )
        flags = CounterMetricFamily(
            PREFIX + "flags", "Notices that were not booked as they came.", labels=["flag"]
        )
        ignored = CounterMetricFamily(
            PREFIX + "ignored", "Notices that were not booked, by why.", labels=["why"]
        )
        for name in sorted(counts):
            kind, _, outcome = name.partition(":")
            if kind in NOTICES and outcome in _OUTCOMES:
                notices.add_metric([kind, outcome], counts[name])
            elif kind == "flag":
                flags.add_metric([outcome], counts[name])
            elif kind == "ignored":
                ignored.add_metric([outcome], counts[name])
            else:
                answers.add_metric([name], counts[name])
        yield from (answers, notices, flags, ignored)
        no_bids = CounterMetricFamily(
            PREFIX + "no_bid", "Impressions without a bid, by reason.", labels=["reason"]
        )
        for reason in _NO_BIDS:
            no_bids.add_metric([reason], counts[reason])
        yield no_bids
        campaign = GaugeMetricFamily(
            PREFIX + "campaign", "Totals of the campaign, by name.", labels=["total"]
        )
        for name, total in self._service.money.totals.items():
            campaign.add_metric([name], total)
        yield campaign
        yield from self._of_server()
        live = self.live()
        for name, text in (
            ("users", "Users in memory."),
            ("evicted", "Users who made room in memory."),
            ("resident_bytes", "Most memory of the process so far."),
            ("log_bytes", "Written, and not yet brought into the state file (WAL)."),
            ("clock_ahead_seconds", "The machine's clock was set by so much since the start."),
        ):
            yield GaugeMetricFamily(PREFIX + name, text, live[name])

    def live(self) -> dict[str, Any]:
        """What the live page shows."""
        service = self._service
        counts = service.counts
        money, hour = service.money, service.clock.hour()
        with contextlib.suppress(*service.state_errors):  # the totals of before; see /healthz
            money.refresh()
        totals = money.totals
        return {
            "totals": totals,
            "win_rate": totals["wins"] / totals["bids"] if totals["bids"] else None,
            "budget": money.budget if math.isfinite(money.budget) else None,
            "planned": money.planned(hour),
            "multiplier": money.multiplier,
            "users": len(service.sessions),
            "evicted": service.sessions.evicted,
            "no_bid": dict(
                Counter(
                    {reason: counts[reason] for reason in _NO_BIDS if counts[reason]}
                ).most_common(_COMMONEST)
            ),
            "late": service.counts["late"] + service.counts["withdrawn"],
            "uptime_seconds": time.monotonic() - self._started,
            "resident_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "model": service.policy.spec.model.sha256[:12],
            "reloads": self.reloads,
            "log_bytes": service.log_bytes(),
            "clock_ahead_seconds": service.clock_ahead(),
        }
