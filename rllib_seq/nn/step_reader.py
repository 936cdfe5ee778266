"""What a raw step input holds besides plain numbers, and how a network reads it.

- `StepParts`: frames and large numbers in a step input
- `FrameEncoder`: a small convolutional network for pixels
- `StepReader`: step inputs to what a memory reads: frames as features, numbers embedded
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rllib_seq.nn.layers import initialise

EMBEDDING = 16
"""Width of an embedded number."""

_AT_ONCE = 512
"""Frames that go through the layers together: more do not stay in a cache."""

_LARGE_SIDE = 32
"""Pixels from which on the first layer looks at 8 x 8 of them, as in Mnih et al. 2015."""


class Frame(NamedTuple):
    """Pixels of a step input."""

    start: int
    """Their place."""
    shape: tuple[int, int, int]
    """Height, width, channels."""
    low: float
    """Of a pixel; black."""
    high: float
    """White."""


class Number(NamedTuple):
    """A number of a step input that is to be embedded."""

    start: int
    """Its place."""
    values: int
    """It is one of 0..values-1."""


class StepParts(NamedTuple):
    """What a step input holds besides plain numbers."""

    frames: tuple[Frame, ...] = ()
    numbers: tuple[Number, ...] = ()


class FrameEncoder(nn.Module):
    """Three convolutions with steps of 2 (the first 4, if a frame is large), and a linear layer.

    Pixels are scaled to [0, 1] by their bounds, so bytes and floats of one picture are the same.
    """

    def __init__(self, frame: Frame, features: int) -> None:
        """Build it for frames of one shape.

        Args:
            frame: shape and bounds.
            features: width of the result.
        """
        super().__init__()
        self.frame = frame
        height, width, channels = frame.shape
        large = min(height, width) >= _LARGE_SIDE
        first = nn.Conv2d(channels, 16, 8, 4, 2) if large else nn.Conv2d(channels, 16, 3, 2, 1)
        self.layers = nn.Sequential(
            first,
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
        )
        with torch.no_grad():
            size = self.layers(torch.zeros(1, channels, height, width)).shape[1]
        self.project = nn.Linear(size, features)
        initialise(self.project)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map pixels `[N, H * W * C]` to features `[N, features]`."""
        scaled = (pixels - self.frame.low) / (self.frame.high - self.frame.low)
        pictures = scaled.reshape(-1, *self.frame.shape).permute(0, 3, 1, 2)
        if torch.compiler.is_compiling():
            found = self.layers(pictures)
        else:
            found = torch.cat([self.layers(some) for some in pictures.split(_AT_ONCE)])
        return functional.relu(self.project(found))


class StepReader(nn.Module):
    """Raw step inputs `[..., input_dim]` to `[..., output_dim]`.

    Plain numbers come first, as they are, then the features of frames, then embeddings.

    Examples:
        >>> parts = StepParts(numbers=(Number(0, 1000),))
        >>> reader = StepReader(3, parts, frame_features=8)
        >>> reader(torch.tensor([[999.0, 0.5, 0.1]])).shape
        torch.Size([1, 18])
    """

    def __init__(self, input_dim: int, parts: StepParts, frame_features: int) -> None:
        """Build it.

        Args:
            input_dim: width of a raw step input.
            parts: what it holds.
            frame_features: width of what is made of a frame.
        """
        super().__init__()
        self.parts = parts
        plain = torch.ones(input_dim, dtype=torch.bool)
        for frame in parts.frames:
            height, width, channels = frame.shape
            plain[frame.start : frame.start + height * width * channels] = False
        for number in parts.numbers:
            plain[number.start] = False
        self.plain: Tensor
        self.register_buffer("plain", plain.nonzero().squeeze(1), persistent=False)
        self.frames = nn.ModuleList([FrameEncoder(each, frame_features) for each in parts.frames])
        self.numbers = nn.ModuleList(
            [nn.Embedding(each.values, EMBEDDING) for each in parts.numbers]
        )
        self.output_dim = (
            len(self.plain) + frame_features * len(parts.frames) + EMBEDDING * len(parts.numbers)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Read step inputs; all are finite."""
        found = [inputs.index_select(-1, self.plain)]
        for frame, encoder in zip(self.parts.frames, self.frames, strict=True):
            height, width, channels = frame.shape
            pixels = inputs[..., frame.start : frame.start + height * width * channels]
            features = encoder(pixels.flatten(0, -2))
            found.append(features.unflatten(0, inputs.shape[:-1]))
        for number, embedding in zip(self.parts.numbers, self.numbers, strict=True):
            place = inputs[..., number.start].round().long().clamp(0, number.values - 1)
            found.append(embedding(place))
        return torch.cat(found, dim=-1)
