"""SequenceConfig: defaults are the specification; every mistake is answered with one line."""

import dataclasses
import inspect
import math

import pytest

from rllib_seq.config import AuxiliaryHead, SequenceConfig
from rllib_seq.errors import UserError


def test_defaults_are_the_specification() -> None:
    config = SequenceConfig()
    assert (config.window_length, config.lstm_layers, config.transformer_layers) == (8, 2, 3)
    assert (config.d_model, config.num_heads, config.dropout) == (64, 4, 0.1)


def test_from_dict_keeps_defaults_of_missing_keys() -> None:
    config = SequenceConfig.from_dict({"d_model": 32, "dropout": 0, "prev_action": False})
    assert config == dataclasses.replace(SequenceConfig(), d_model=32, dropout=0, prev_action=False)


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SequenceConfig().d_model = 32  # type: ignore[misc]


def test_auxiliary_heads_are_read_from_settings() -> None:
    assert SequenceConfig().auxiliary == {}
    settings = {"won": {"given_action": True}, "bought": {}, "left": AuxiliaryHead(3)}
    heads = SequenceConfig.from_dict({"auxiliary": settings}).auxiliary
    assert heads == {
        "won": AuxiliaryHead(given_action=True),
        "bought": AuxiliaryHead(),
        "left": AuxiliaryHead(horizon=3),
    }
    config = SequenceConfig(auxiliary=heads)
    assert SequenceConfig.from_dict(dataclasses.asdict(config)) == config


@pytest.mark.parametrize("settings", [SequenceConfig, AuxiliaryHead])
def test_every_field_has_a_docstring(settings: type) -> None:
    source = inspect.getsource(settings)
    for field in dataclasses.fields(settings):
        after = source.split(f"\n    {field.name}: ", 1)[1].splitlines()[1]
        assert after.strip().startswith('"""'), field.name


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"widow_length": 4}, ["'widow_length'", "custom_model_config", "'window_length'?"]),
        ({"zzz": 4}, ["unknown key 'zzz'", "Valid keys: encoder, encoder_config"]),
        ({"window_length": 0}, ["window_length=0", "at least 1", "default is 8"]),
        ({"window_length": -3}, ["window_length=-3"]),
        ({"encoder": "causl"}, ["encoder='causl'", "did you mean 'causal'", "window, causal"]),
        ({"encoder": 3}, ["encoder=3", "window, causal"]),
        ({"encoder": "causal", "window_length": 1}, ["window_length=1", "at least 2"]),
        ({"encoder_config": 3}, ["encoder_config=3", "must be a dict"]),
        ({"encoder_config": {"cells": 3}}, ["'cells'", "encoder_config", "encoder='window'"]),
        ({"share_encoder": 1}, ["share_encoder=1", "True or False"]),
        ({"pooling": "max"}, ["pooling='max'", "attention, mean"]),
        ({"pooling": "mean", "encoder": "lstm"}, ["pooling='mean'", "encoder='window'"]),
        ({"window_length": 8.0}, ["window_length=8.0", "int"]),
        ({"window_length": "8"}, ["window_length='8'", "int"]),
        ({"window_length": True}, ["window_length=True", "int"]),
        ({"d_model": None}, ["d_model=None", "int"]),
        ({"lstm_layers": -1}, ["lstm_layers=-1", "at least 0"]),
        ({"lstm_layers": 0, "encoder": "causal"}, ["lstm_layers=0", "encoder='window'"]),
        ({"transformer_layers": 1.5}, ["transformer_layers=1.5"]),
        ({"feedforward_dim": 0}, ["feedforward_dim=0"]),
        ({"head_hidden": False}, ["head_hidden=False"]),
        ({"d_model": 30}, ["d_model=30", "num_heads=4", "d_model=32"]),
        ({"d_model": 33, "num_heads": 3}, ["d_model=33", "even"]),
        ({"d_model": 64, "num_heads": 128}, ["num_heads=128"]),
        ({"dropout": 1.0}, ["dropout=1.0", "[0, 1)"]),
        ({"dropout": -0.1}, ["dropout=-0.1"]),
        ({"dropout": math.nan}, ["dropout=nan"]),
        ({"dropout": "0.1"}, ["dropout='0.1'"]),
        ({"dropout": False}, ["dropout=False"]),
        ({"prev_action": 1}, ["prev_action=1", "True or False"]),
        ({"prev_reward": "no"}, ["prev_reward='no'"]),
        ({"auxiliary": ["won"]}, ["auxiliary=['won']", "must map", '{"won": {']),
        ({"auxiliary": {"won": 3}}, ["auxiliary['won']=3", "{} takes the defaults"]),
        ({"auxiliary": {"a.b": {}}}, ["auxiliary['a.b']", "letters, digits"]),
        (
            {"auxiliary": {"won": {"horizn": 3}}},
            ["unknown key 'horizn' in auxiliary['won']", "did you mean 'horizon'"],
        ),
        ({"auxiliary": {"won": {"horizon": 0}}}, ["horizon=0", "at least 1", "default is 1"]),
        ({"auxiliary": {"won": {"horizon": True}}}, ["horizon=True"]),
        ({"auxiliary": {"won": {"given_action": 1}}}, ["given_action=1", "True or False"]),
        ({"auxiliary": {"won": {"weight": 0}}}, ["weight=0", "leave the head out"]),
        ({"auxiliary": {"won": {"weight": math.nan}}}, ["weight=nan"]),
        ({"auxiliary": {"won": {"weight": math.inf}}}, ["weight=inf"]),
    ],
)
def test_mistakes_are_named_in_one_line(settings: dict, parts: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        SequenceConfig.from_dict(settings)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts), message


def test_where_names_the_mapping() -> None:
    with pytest.raises(ValueError, match="in sweep.yaml"):
        SequenceConfig.from_dict({"d_modle": 32}, where="sweep.yaml")
