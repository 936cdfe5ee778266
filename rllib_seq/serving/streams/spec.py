"""What an export of streams says of itself: `spec.json` beside the ONNX file.

- `StreamSpec`: its content
- `stream_kind`: whether a folder holds such an export, or one of a bidder (see `exported.spec`)

DIR/
  spec.json                 everything but the weights
  model-SHA.onnx            one step of N streams; inputs and outputs have the names of the spec
  selftest-SHA.npz          inputs, and what torch made of them
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rllib_seq.errors import UserError
from rllib_seq.serving.exported.spec import SPEC, File

FORMAT = 1
POLICY, RESPONSE = "policy", "response"
OBSERVATION, ACTION, REWARD, OUTPUTS = "observation", "action", "reward", "outputs"
STATE, NEXT, FORECAST = "state.", "next.", "forecast."
STEP, MEMORY, PROBABILITY = "step", "memory", "probability"  # of response models


@dataclass(frozen=True)
class StreamSpec:
    """An export without its weights."""

    kind: str
    """"policy" or "response"."""
    format: int
    inputs: dict[str, Any]
    """Shape (without the batch dimension) and type of every input of the graph, by name:
    `observation` or `observation.PART`, `reward` of the last action if the policy reads it, and
    `state.NAME`, zeros at a stream's first step."""
    outputs: dict[str, Any]
    """The same of outputs: `action` or `action.PART`, ready for the environment; `outputs`, what it
    was taken from (inputs of the distribution, or Q values); `forecast.EVENT`, probabilities; and
    `next.NAME`, the state afterwards. A response model maps `step` to `probability`."""
    facts: dict[str, Any]
    """Of a policy: `observation_space` and `action_space`, and what the graph does around the
    network (`preprocessing`). Of a response model: how fields become numbers."""
    model: File
    selftest: File
    source: dict[str, Any]
    """Where it comes from."""
    versions: dict[str, str]
    """What it was exported with."""

    @property
    def state(self) -> dict[str, Any]:
        """Shape and type of every part of the state, by name."""
        return {k.removeprefix(STATE): v for k, v in self.inputs.items() if k.startswith(STATE)}

    @property
    def forecasts(self) -> list[str]:
        """Names of the events that are forecast."""
        return [k.removeprefix(FORECAST) for k in self.outputs if k.startswith(FORECAST)]

    @classmethod
    def read(cls, folder: Path) -> StreamSpec:
        """Reads an export.

        Raises:
            UserError: it cannot be read, or is of another format.
        """
        path = folder / SPEC
        try:
            content = dict(json.loads(path.read_text()))
            if content["format"] != FORMAT:
                raise UserError(
                    f"{str(path)!r} has format {content['format']!r}, and this version reads "
                    f"{FORMAT}; export it again"
                )
            for name in ("model", "selftest"):
                content[name] = File(**content[name])
            return cls(**content)
        except UserError:
            raise
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise UserError(f"cannot read export {str(path)!r}: {error!r}") from error

    def write(self, folder: Path) -> None:
        """Replaces `spec.json`, the last of the files."""
        aside = folder / f".{SPEC}.part"
        aside.write_text(json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n")
        aside.replace(folder / SPEC)

    def same_interface(self, other: StreamSpec) -> bool:
        """Whether another export can take over from this one, sessions and all."""
        names = ("kind", "inputs", "outputs", "facts")
        return all(getattr(self, name) == getattr(other, name) for name in names)


def stream_kind(folder: Path) -> str | None:
    """The kind of a stream export; None: the folder holds that of a bidder.

    Raises:
        UserError: it cannot be read.
    """
    path = folder / SPEC
    try:
        return dict(json.loads(path.read_text())).get("kind")
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"cannot read export {str(path)!r}: {error!r}") from error
