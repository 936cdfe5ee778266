"""A page of the reference for every public room.

- `ROOMS`: the packages and modules whose `__all__` is public, each with one line about it
- `public_names`, `room_page`
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

ROOMS = {
    "rllib_seq": "Register with RLlib and Gymnasium; act with a checkpoint and evaluate it.",
    "rllib_seq.models": "Sequence models for RLlib, on both API stacks.",
    "rllib_seq.nn": "The networks in pure PyTorch, without Ray.",
    "rllib_seq.nn.encoders": "Encoders of streams, and the interface of your own.",
    "rllib_seq.nn.heads": "Heads on the features of an encoder.",
    "rllib_seq.config": "Settings of the sequence models.",
    "rllib_seq.rollouts": "Rollout workers that play environments as arrays.",
    "rllib_seq.lift": "Lift: learning to bid from outcomes.",
    "rllib_seq.q_learning": "Recurrent DQN.",
    "rllib_seq.envs.array_env": "Environments as arrays.",
    "rllib_seq.envs.ad_auction": "The ad auction: environments, simulator, presets.",
    "rllib_seq.journeys": "From an event log to journeys, patterns and attribution.",
    "rllib_seq.journeys.reading": "How logs are read.",
    "rllib_seq.serving": "The bid server in a program.",
    "rllib_seq.errors": "Errors that a user can fix.",
}

INTERNAL = {
    "rllib_seq.benchmarks": "what `rllib-seq bench` finds by name",
    "rllib_seq.cli": "documented on the page of the command line",
}
"""Packages with an `__all__` that is not public, and why."""


def source(room: str) -> Path:
    """The file of a package or module."""
    place = ROOT / room.replace(".", "/")
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def public_names(room: str) -> list[str]:
    """The content of `__all__`, without importing the room."""
    for node in ast.parse(source(room).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def room_page(room: str) -> str:
    """The page of a room: every public name with its docstring."""
    lines = [f"# {room}", "", ROOMS[room], ""]
    for name in public_names(room):
        lines += [f"::: {room}.{name}", ""]
    return "\n".join(lines)
