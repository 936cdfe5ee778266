"""Figures of a server of streams, for Prometheus.

- `StepMetrics`: reads them off the service when someone asks
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from rllib_seq.serving.http.connections import Connections
from rllib_seq.serving.streams.service import StreamService

__all__ = ["StepMetrics"]

_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_PREFIX = "rllib_seq_"


class StepMetrics:
    """The figures of one server.

    Args:
        service: that they are about.
        connections: the same; None: they are not counted here.
    """

    def __init__(self, service: StreamService, connections: Connections | None) -> None:
        self._service, self._connections = service, connections
        self._registry = CollectorRegistry(auto_describe=False)
        self.latency = Histogram(
            _PREFIX + "step_seconds",
            "From a whole request to its answer.",
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.reloads = {"done": 0, "refused": 0}
        self._registry.register(self)

    def text(self) -> bytes:
        """In Prometheus' format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Any]:
        """What the registry asks for."""
        service = self._service
        answers = CounterMetricFamily(_PREFIX + "answers", "Answers by why.", labels=["why"])
        for why in ("answered", "refused", "late", "error"):
            answers.add_metric([why], service.counts[why])
        reloads = CounterMetricFamily(
            _PREFIX + "reloads", "New exports, by what became of them.", labels=["outcome"]
        )
        for outcome, number in self.reloads.items():
            reloads.add_metric([outcome], number)
        yield from (answers, reloads)
        if self._connections is not None:
            closed = CounterMetricFamily(
                _PREFIX + "closed_connections", "Before an answer, by why.", labels=["why"]
            )
            closed.add_metric(["too_many"], self._connections.refused)
            closed.add_metric(["slow_head"], self._connections.slow)
            yield closed
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for name, text, number in (
            ("sessions", "Sessions in memory.", len(service.sessions)),
            ("evicted", "Sessions that made room in memory.", service.sessions.evicted),
            ("resident_bytes", "Most memory of the process so far.", resident),
            ("log_bytes", "Written, and not yet in the state file (WAL).", service.log_bytes()),
        ):
            yield GaugeMetricFamily(_PREFIX + name, text, number)
