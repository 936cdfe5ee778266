"""The page of the server's metrics and HTTP paths, read off its application.

- `server_page`
"""

from __future__ import annotations

import inspect
from typing import Any

from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from rllib_seq.serving.exported.spec import SHIPPED
from rllib_seq.serving.http.app import open_service
from rllib_seq.serving.http.connections import Connections
from rllib_seq.serving.http.metrics import Metrics
from rllib_seq.serving.http.routes.notices import add_notice_routes
from rllib_seq.serving.http.routes.users import add_user_routes
from rllib_seq.serving.notices import NOTICES
from rllib_seq.serving.settings import Settings


def server_page() -> str:
    """Metrics, notices and their parameters."""
    lines = ["# Metrics and notices of the server", "", "## Metrics", ""]
    lines += ["`GET /metrics` returns them in the format of Prometheus.", ""]
    lines += ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    lines += [*_metrics(), "", "## Notices", ""]
    lines += ["Kinds: " + ", ".join(f"`{kind}`" for kind in NOTICES) + ".", ""]
    app = FastAPI()
    add_notice_routes(app)
    add_user_routes(app)
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            if not (method == "post" and "get" in methods):
                lines += _operation(method, path, operation)
    return "\n".join(lines)


def _metrics() -> list[str]:
    """A row per metric of a server with the shipped policy."""
    service = open_service(Settings(export=str(SHIPPED), state=":memory:"))
    try:
        # A count of each kind, so that its labels show.
        service.counts.update(["bid", "win:counted", "flag:price", "ignored:late"])
        families = text_string_to_metric_families(
            Metrics(service, Connections(1, 1, 5.0, 5.0)).text().decode()
        )
        return [_metric(each) for each in families if not each.name.endswith("_created")]
    finally:
        service.close()


def _metric(family: Any) -> str:
    labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
    name = family.name + ("_total" if family.type == "counter" else "")
    shown = ", ".join(f"`{label}`" for label in labels)
    return f"| `{name}` | {family.type} | {shown} | {family.documentation} |"


def _operation(method: str, path: str, operation: dict[str, Any]) -> list[str]:
    lines = [
        f"### {method.upper()} {path}",
        "",
        inspect.cleandoc(operation["description"]),
        "",
    ]
    lines += ["| parameter | in | required | values |", "| --- | --- | --- | --- |"]
    for parameter in operation.get("parameters", []):
        schema = parameter["schema"]
        values = ", ".join(f"`{value}`" for value in schema.get("enum", ()))
        required = "yes" if parameter["required"] else ""
        lines.append(f"| `{parameter['name']}` | {parameter['in']} | {required} | {values} |")
    return [*lines, ""]
