"""Pages of settings, commands and experiments, read off the code.

- `settings_page`: the dataclasses
- `command_page`: the command line, from typer
- `experiment_page`: docstrings of the shipped experiments
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
from pathlib import Path
from typing import Any

import typer.main

from rllib_seq.cli import app
from rllib_seq.training.config.modules import shipped_experiments

EXPERIMENTS = Path(__file__).parents[2] / "tune_configs"

SETTINGS = {
    "The sequence model (`custom_model_config`)": "rllib_seq.config:SequenceConfig",
    "An auxiliary head (`auxiliary`)": "rllib_seq.config:AuxiliaryHead",
    "The ad auction (`env_config`)": "rllib_seq.envs.ad_auction.worlds.presets:AuctionConfig",
    "The bid server (`rllib-seq serve`)": "rllib_seq.serving.settings:Settings",
}


def described(cls: type) -> dict[str, str]:
    """The string below each field of a dataclass, by the field's name."""
    (tree,) = ast.parse(inspect.cleandoc(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def default_of(field: dataclasses.Field[Any]) -> str:
    """The default of a field, as code."""
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"`{field.default_factory()!r}`"
    return "required"


def settings_page() -> str:
    """All settings as tables."""
    lines = ["# Settings", "", "Read off the dataclasses that check them.", ""]
    for title, place in SETTINGS.items():
        module, _, name = place.partition(":")
        cls = getattr(importlib.import_module(module), name)
        texts = described(cls)
        lines += [
            f"## {title}",
            "",
            "| key | default | meaning |",
            "| --- | --- | --- |",
        ]
        for field in dataclasses.fields(cls):
            text = texts.get(field.name, "").replace("|", "\\|")
            lines.append(f"| `{field.name}` | {default_of(field)} | {text} |")
        lines.append("")
    return "\n".join(lines)


def command_page() -> str:
    """Every command with its options."""
    root = typer.main.get_command(app)
    lines = ["# Command line", "", root.help or "", ""]
    for name, command in root.commands.items():  # type: ignore[attr-defined]
        lines += [f"## rllib-seq {name}", "", inspect.cleandoc(command.help or ""), ""]
        lines += ["| option | default | meaning |", "| --- | --- | --- |"]
        for parameter in command.params:
            words = " ".join(f"`{word}`" for word in parameter.opts)
            if parameter.param_type_name == "argument":
                words = f"`{(parameter.name or '').upper()}`"
            default = "" if parameter.default in (None, False, ()) else f"`{parameter.default}`"
            text = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
            lines.append(f"| {words} | {default} | {text} |")
        lines.append("")
    return "\n".join(lines)


def experiment_page() -> str:
    """Every shipped experiment with its docstring."""
    lines = ["# Shipped experiments", "", "Train one with `rllib-seq train NAME`.", ""]
    for name in shipped_experiments():
        # Not imported: that would load Ray, RLlib and torch.
        text = (EXPERIMENTS / f"{name}.py").read_text(encoding="utf-8")
        lines += [f"## {name}", "", ast.get_docstring(ast.parse(text)) or "", ""]
    return "\n".join(lines)
