"""The settings of a run as differences from the defaults.

- `settings_html`: a table of what was chosen, and everything behind it
"""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from rllib_seq.config import SequenceConfig
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.html import table_html

_BESIDE = ("versions", "algorithm", "module", "env")


def settings_html(config: Mapping[str, Any]) -> list[str]:
    """Heading, table and, folded, `config.json`."""
    rows = [
        (name, _text(value), "" if default is _NONE else _text(default))
        for name, value, default in _differences(config)
    ]
    table = table_html(("setting", "here", "default"), rows) if rows else "<p>All defaults.</p>"
    whole = html.escape(json.dumps(config, indent=2))
    return [
        f"<h2>Settings</h2><p>What differs from the defaults.</p>{table}",
        f"<details><summary>All of config.json</summary><pre tabindex=0>{whole}</pre></details>",
    ]


_NONE = object()


def _differences(config: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in ("module", "algorithm", "env"):
        if name in config:
            yield name, config[name], _NONE
    world = config.get("env_config") or {}
    yield from _changed("env_config", world, _defaults(AuctionConfig))
    model = config.get("model") or {}
    ours = model.get("custom_model_config") or {}
    yield from _changed("model", ours, _defaults(SequenceConfig))
    rest = {k: v for k, v in config.items() if k not in (*_BESIDE, "env_config", "model")}
    for name, value in rest.items():
        if isinstance(value, dict):
            yield from _changed(name, value, {})
        elif value not in (None, [], {}):
            yield name, value, _NONE


def _changed(
    where: str, values: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name, value in values.items():
        default = defaults.get(name, _NONE)
        if default is _NONE and value in (None, [], {}):
            continue
        if default is _NONE or json.dumps(value) != json.dumps(default, default=list):
            yield f"{where}.{name}", value, default


def _defaults(settings: type[Any]) -> dict[str, Any]:
    defaults = {}
    for each in dataclasses.fields(settings):
        if each.default is not dataclasses.MISSING:
            defaults[each.name] = each.default
        elif each.default_factory is not dataclasses.MISSING:
            defaults[each.name] = each.default_factory()
    return defaults


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
