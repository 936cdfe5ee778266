"""The page at `/docs`: the API, rendered by the server; it loads nothing.

- `docs_page`: from the OpenAPI schema.
"""

from __future__ import annotations

from html import escape
from typing import Any

__all__ = ["docs_page"]

_HEAD = """<!doctype html><html lang=en><head><meta charset=utf-8>
<meta name=viewport content='width=device-width, initial-scale=1'><title>{title}</title><style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
table {{ border-collapse: collapse; width: 100%; }} h2 {{ margin-top: 2rem; }}
td, th {{ border: 1px solid #8886; padding: .2rem .5rem; text-align: left; vertical-align: top; }}
code {{ overflow-wrap: anywhere; }} p {{ white-space: pre-line; }}
</style></head><body><h1>{title}, {version}</h1>
<p>The schema for programs is at <a href=openapi.json><code>/openapi.json</code></a>.</p>
"""


def docs_page(schema: dict[str, Any]) -> str:
    """HTML: every operation with its parameters and answers, and every model with its fields."""
    info = schema["info"]
    parts = [_HEAD.format(title=escape(info["title"]), version=escape(info["version"]))]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2>")
            parts.append(f"<p>{escape(operation.get('description', ''))}</p>")
            parts.append(_table("parameter", map(_parameter, operation.get("parameters", []))))
            answers = operation.get("responses", {}).items()
            parts.append(
                _table(
                    "answer", ((code, "", each.get("description", "")) for code, each in answers)
                )
            )
    for name, model in schema.get("components", {}).get("schemas", {}).items():
        parts.append(f"<h2 id='{escape(name)}'>{escape(name)}</h2>")
        parts.append(f"<p>{escape(model.get('description', ''))}</p>")
        fields = model.get("properties", {}).items()
        needed = model.get("required", [])
        parts.append(
            _table(
                "field",
                (
                    (field + ("" if field in needed else "?"), _type(each), _text(each))
                    for field, each in fields
                ),
            )
        )
    return "\n".join([*parts, "</body></html>"])


def _parameter(parameter: dict[str, Any]) -> tuple[str, str, str]:
    name = parameter["name"] + ("" if parameter.get("required") else "?")
    schema = parameter.get("schema", {})
    return name, _type(schema), parameter.get("description", "") or _text(schema)


def _text(schema: dict[str, Any]) -> str:
    return str(schema.get("description", ""))


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(repr, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_type(each) for each in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _table(first: str, rows: Any) -> str:
    cells = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{escape(kind)}</td><td>{escape(text)}</td></tr>"
        for name, kind, text in rows
    )
    return f"<table><tr><th>{first}</th><th></th><th></th></tr>{cells}</table>" if cells else ""
