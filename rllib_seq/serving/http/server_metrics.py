"""Figures that every server has, for Prometheus.

- `ServerMetrics`: latency, new exports and closed connections
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily

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
        self._registry = CollectorRegistry(auto_describe=False)
        self.latency = Histogram(PREFIX + latency, what, buckets=_BUCKETS, registry=self._registry)
        self.reloads = {"done": 0, "refused": 0}
        self._registry.register(self)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """What the registry asks for."""
        raise NotImplementedError

    def _of_server(self) -> Iterator[Any]:
        """New exports and closed connections."""
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
            closed.add_metric(["slow_head"], self._connections.slow)
            yield closed
