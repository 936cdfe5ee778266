"""Frames and large numbers in step inputs: read step by step as in sequences, alike in any form."""

import io
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from rllib_seq.config import SequenceConfig
from rllib_seq.nn import SequentialPolicyNetwork, build_actor_critic, encoder_names
from rllib_seq.nn.step_graph import PolicyStep
from rllib_seq.nn.step_reader import Frame, FrameEncoder, Number, StepParts

SMALL: dict[str, Any] = {
    "window_length": 3,
    "d_model": 8,
    "num_heads": 2,
    "lstm_layers": 1,
    "transformer_layers": 1,
    "feedforward_dim": 8,
    "head_hidden": 8,
    "dropout": 0.0,
}
# A feature, a picture of 8 x 9 grey pixels, a number of 500, another feature.
PARTS = StepParts(frames=(Frame(1, (8, 9, 1), 0.0, 255.0),), numbers=(Number(73, 500),))
WIDTH = 75
every_encoder = pytest.mark.parametrize("encoder", encoder_names())


def _steps(rows: int, steps: int) -> Tensor:
    torch.manual_seed(rows + steps)
    inputs = torch.rand(rows, steps, WIDTH)
    inputs[..., 1:73] = torch.randint(256, (rows, steps, 72)).float()
    inputs[..., 73] = torch.randint(500, (rows, steps)).float()
    return inputs


def _networks(encoder: str, share: bool = False) -> Any:
    torch.manual_seed(0)
    settings = SequenceConfig(encoder=encoder, share_encoder=share, **SMALL)
    networks = build_actor_critic(WIDTH, 4, settings, PARTS)
    for network in (networks.policy, networks.value):
        network.eval()
    return networks


@every_encoder
def test_steps_sequences_and_windows_agree(encoder: str) -> None:
    networks, inputs = _networks(encoder), _steps(2, 7)
    lens = torch.tensor([7, 4])
    padded = inputs.clone()
    padded[1, 4:] = torch.nan
    state = networks.initial_state(2)
    with torch.no_grad():
        whole = networks.read(state, padded, lens, carry=False)
        parts = []
        for step in range(7):
            reading = networks.read(state, inputs[:, step : step + 1])
            parts.append((reading.features, reading.value_features()))
            state = reading.state
        for number, found in enumerate((whole.features, whole.value_features())):
            one_by_one = torch.cat([part[number] for part in parts], dim=1)
            torch.testing.assert_close(found[0], one_by_one[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(found[1, :4], one_by_one[1, :4], atol=1e-5, rtol=0)
        windows = torch.cat([torch.full((1, 1, WIDTH), torch.nan), inputs[:1, :2]], dim=1)
        valid = torch.tensor([[False, True, True]])
        newest = networks.policy.encoder.windows(windows, valid)
        torch.testing.assert_close(newest, whole.features[:1, 1], atol=1e-5, rtol=0)
    changed = inputs.clone()
    changed[:, 0, 40] += 100.0  # a pixel of the first step
    with torch.no_grad():
        other = networks.read(networks.initial_state(2), changed, carry=False).features
    assert (other[:, 0] != whole.features[:, 0]).any(1).all()


def test_every_part_is_learned_from() -> None:
    networks, inputs = _networks("lstm", share=True), _steps(5, 4)
    reading = networks.read(networks.initial_state(5), inputs, carry=False)
    outputs = networks.policy.head(reading.features).square().sum()
    (outputs + networks.value_head(reading.value_features()).square().sum()).backward()
    reader = networks.policy.encoder.reader
    for name, parameter in reader.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    rows = reader.numbers[0].weight.grad.any(1).nonzero().squeeze(1)
    assert set(rows.tolist()) == set(inputs[..., 73].flatten().long().tolist())
    # No layer is as wide as the number has values.
    assert all(500 not in p.shape[1:] for p in networks.policy.parameters())


@pytest.mark.parametrize("shape", [(8, 8, 1), (11, 40, 3), (84, 84, 4)])
def test_frames_of_any_size_and_scale(shape: tuple[int, int, int]) -> None:
    """Bytes, and floats in [0, 1] or [-1, 1], of one picture are the same."""
    torch.manual_seed(0)
    bytes_ = torch.randint(256, (3, int(np.prod(shape))))
    encoder = FrameEncoder(Frame(0, shape, 0.0, 255.0), 8)
    expected = encoder(bytes_.float())
    assert expected.shape == (3, 8) and expected.std(0).max() > 0
    for low, high in ((0.0, 1.0), (-1.0, 1.0)):
        encoder.frame = Frame(0, shape, low, high)
        found = encoder(bytes_ / 255 * (high - low) + low)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["window", "lstm"])
def test_onnx_does_what_torch_does(encoder: str) -> None:
    """With any batch; a state of frames goes in and out."""
    torch.manual_seed(0)
    settings = {**SMALL, "encoder": encoder}
    if encoder == "window":  # tracing both directions of an LSTM takes long
        settings |= {"lstm_layers": 0, "transformer_layers": 0, "pooling": "mean"}
    policy = SequentialPolicyNetwork(WIDTH, 4, parts=PARTS, **settings)
    step = PolicyStep(policy).eval()
    memory = torch.zeros(3, step.memory_size)
    with torch.no_grad():
        for now in _steps(3, 2).unbind(1):
            _, memory = step(now, memory)
    batch, file = torch.export.Dim("batch", min=1), io.BytesIO()
    program = torch.onnx.export(
        step,
        (_steps(3, 1)[:, 0], memory),
        dynamo=True,
        dynamic_shapes=({0: batch}, {0: batch}),
        input_names=["inputs", "memory"],
        verbose=False,
    )
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    for rows in (1, 3):
        now = _steps(rows, 1)[:, 0]
        with torch.no_grad():
            expected = step(now, memory[:rows])
        found = session.run(None, {"inputs": now.numpy(), "memory": memory[:rows].numpy()})
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-4)
