"""Figures that every server has, for Prometheus.

- `ServerMetrics`: latency, new exports and closed connections
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

from rllib_seq.serving.http.connections import Connections

__all__ = ["PREFIX", "ServerMetrics"]

PREFIX = "rllib_seq_"
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class ServerMetrics:
    """Figures of one server: subclasses implement `collect`.

    Args:
        latency: name of the histogram of seconds.
        what: it measures.
        connections: of the server; None: they are not counted here.
    """

    def __init__(self, latency: str, what: str, connections: Connections | None) -> None:
        self._connections = connections
        self._latency = PREFIX + latency, what
        # Plain numbers, because a histogram of the client takes a lock for each of them.
        self._numbers, self._seconds = [0] * (len(_BUCKETS) + 1), 0.0
        self._registry = CollectorRegistry(auto_describe=False)
        self.reloads = {"done": 0, "refused": 0}
        self._registry.register(self)

    def observe(self, seconds: float) -> None:
        """Counts an answer that took so long; for the thread of the event loop alone."""
        self._numbers[bisect_left(_BUCKETS, seconds)] += 1
        self._seconds += seconds

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """What the registry asks for."""
        raise NotImplementedError

    def _of_server(self) -> Iterator[Any]:
        """Latency, new exports and closed connections."""
        bounds = [*map(str, _BUCKETS), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._numbers), strict=True))
        yield HistogramMetricFamily(*self._latency, buckets=buckets, sum_value=self._seconds)
        reloads = CounterMetricFamily(
            PREFIX + "reloads", "New exports, by what became of them.", labels=["outcome"]
        )
        for outcome, number in self.reloads.items():
            reloads.add_metric([outcome], number)
        yield reloads
        if self._connections is not None:
            closed = CounterMetricFamily(
                PREFIX + "closed_connections", "Before an answer, by why.", labels=["why"]
            )
            closed.add_metric(["too_many"], self._connections.refused)
            for what, number in self._connections.slow.items():
                closed.add_metric([f"slow_{what}"], number)
            yield closed
