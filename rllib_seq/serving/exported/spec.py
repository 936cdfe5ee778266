"""What an exported policy says of itself: `spec.json` beside the ONNX file.

- `Spec`: the content of `spec.json`.
- `world_facts`: the numbers of a world that a policy depends on, for a spec and to check one.

DIR/
  spec.json                 everything but the weights
  model-SHA.onnx            weights and graph, batch dimension open
  selftest-SHA.npz          inputs, and what torch made of them

The names carry the first letters of the content's SHA-256 and spec.json is replaced last, so an
export over an older one is seen whole or not at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rllib_seq.envs.ad_auction.journey import features
from rllib_seq.envs.ad_auction.worlds.presets import AuctionConfig
from rllib_seq.errors import UserError

FORMAT = 3
"""Of spec.json; raised when a reader of today could not understand it."""
SPEC = "spec.json"
SHIPPED = Path(__file__).with_name("shipped")
"""The export of a policy for preset journey that comes with the package."""


@dataclass(frozen=True)
class File:
    """A file of the export."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Spec:
    """A policy without its weights."""

    format: int
    encoder: str
    """Name of the encoder that was trained."""
    stream: str
    """What one memory follows: "user", or "campaign"."""
    window_length: int
    """Steps that the model sees (L); how far one with a memory looks is its own affair."""
    memory_size: int
    """What the model carries from step to step (M), zeros at first. The graph then maps inputs
    `[B, width]` and memory `[B, M]` to outputs `[B, K]` and memory_after `[B, M]`. 0: it has no
    memory and maps windows, inputs `[B, L, width]` and valid `[B, L]`, to outputs `[B, K]`."""
    prev_action: bool
    """Whether the previous action is an input; one-hot, part by part."""
    prev_reward: bool
    """Whether the previous reward is an input."""
    action_sizes: list[int]
    """Outputs come in these blocks; of each the largest is taken."""
    world: dict[str, Any]
    """Fields of `AuctionConfig`."""
    facts: dict[str, Any]
    """See `world_facts`: spaces, units that observations are normalised by, action levels."""
    model: File
    selftest: File
    source: dict[str, Any]
    """Where it comes from."""
    versions: dict[str, str]
    """What it was exported with."""

    @classmethod
    def read(cls, folder: Path) -> Spec:
        """Reads an export and checks that this version serves it alike.

        Raises:
            UserError: it cannot be read, is of another kind or was made for another world.
        """
        path = folder / SPEC
        try:
            content = dict(json.loads(path.read_text()))
            if "kind" in content:
                raise UserError(
                    f"{str(path)!r} is an export for POST /act, and not a bidder; serve it with "
                    "rllib-seq serve, or act with its checkpoint"
                )
            if content["format"] != FORMAT:
                raise UserError(
                    f"{str(path)!r} has format {content['format']!r}, and this version reads "
                    f"{FORMAT}; export the checkpoint again"
                )
            for name in ("model", "selftest"):
                content[name] = File(**content[name])
            spec = cls(**content)
        except UserError:
            raise
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"cannot read export {str(path)!r}: {error!r}") from error
        spec.check_world(path)
        return spec

    def check_world(self, path: Path) -> None:
        """Compares what the policy was trained with and what this version would feed it.

        Raises:
            UserError: they differ.
        """
        try:
            facts = world_facts(AuctionConfig.from_dict(self.world))
        except ValueError as error:
            raise UserError(f"{str(path)!r}: {error}") from error
        differing = [name for name in facts if facts[name] != self.facts.get(name)]
        if differing:
            raise UserError(
                f"{str(path)!r} was made for other {', '.join(differing)} than this version has; "
                "train and export again, or serve it with the version in its 'versions'"
            )

    @property
    def config(self) -> AuctionConfig:
        """The world."""
        return AuctionConfig.from_dict(self.world)

    def same_interface(self, other: Spec) -> bool:
        """Whether another policy can take over from this one, sessions and all."""
        names = [
            *("encoder", "stream", "window_length", "memory_size", "prev_action", "prev_reward"),
            *("action_sizes", "world", "facts"),
        ]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    @property
    def steps_kept(self) -> int:
        """Past steps that a server has to keep of a stream, raw."""
        return 1 if self.memory_size else self.window_length

    @property
    def input_width(self) -> int:
        """Width of a step input: observation, previous action, previous reward."""
        actions = sum(self.action_sizes) if self.prev_action else 0
        return len(self.facts["observation"]) + actions + int(self.prev_reward)

    def write(self, folder: Path) -> None:
        """Replaces `spec.json`."""
        aside = folder / f".{SPEC}.part"
        aside.write_text(json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n")
        aside.replace(folder / SPEC)


def world_facts(config: AuctionConfig) -> dict[str, Any]:
    """The numbers of a world that a policy depends on, as JSON has them; None for infinity.

    Returns:
        `observation`: name, low and high of every component; `units`: what it is normalised by;
        `actions`: their space; `bid_levels` in currency units per impression; `conversion_value`
        by segment; `budget` and `flight_hours` of the campaign.
    """
    preset = config.build_preset()
    layout = config.build_layout(preset)
    audience = preset.users.audience
    facts = {
        "observation": [[f.name, f.low, f.high] for f in features.fields(layout)],
        "units": layout._asdict(),
        "actions": str(config.build_actions(preset).space),
        "bid_levels": preset.bid_levels.tolist(),
        "conversion_value": (preset.value * np.asarray(audience.value_factor)).tolist(),
        "budget": _finite(preset.budget_per_user * config.num_users),
        "flight_hours": _finite(preset.flight_hours),
    }
    return dict(json.loads(json.dumps(facts)))


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
