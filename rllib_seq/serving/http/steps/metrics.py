"""Figures of a server of streams, for Prometheus.

- `StepMetrics`: reads them off the service when someone asks
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from rllib_seq.serving.http.connections import Connections
from rllib_seq.serving.http.server_metrics import PREFIX, ServerMetrics
from rllib_seq.serving.streams.service import StreamService

__all__ = ["StepMetrics"]


class StepMetrics(ServerMetrics):
    """The figures of one server.

    Args:
        service: that they are about.
        connections: the same; None: they are not counted here.
    """

    def __init__(self, service: StreamService, connections: Connections | None) -> None:
        super().__init__("step_seconds", "From a whole request to its answer.", connections)
        self._service = service

    def collect(self) -> Iterator[Any]:
        """What the registry asks for."""
        service = self._service
        answers = CounterMetricFamily(PREFIX + "answers", "Answers by why.", labels=["why"])
        for why in ("answered", "refused", "late", "error"):
            answers.add_metric([why], service.counts[why])
        yield answers
        yield from self._of_server()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        for name, text, number in (
            ("sessions", "Sessions in memory.", len(service.sessions)),
            ("evicted", "Sessions that made room in memory.", service.sessions.evicted),
            ("resident_bytes", "Most memory of the process so far.", resident),
            ("log_bytes", "Written, and not yet in the state file (WAL).", service.log_bytes()),
        ):
            yield GaugeMetricFamily(PREFIX + name, text, number)
