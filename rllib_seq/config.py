"""The settings of the sequence models, checked once and in one place.

- `SequenceConfig`: what `custom_model_config` may hold under RLlib, and the keyword arguments of
  every network in `rllib_seq.nn`
- `AuxiliaryHead`: one prediction that is learned beside the policy
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from rllib_seq.errors import UserError

__all__ = ["AuxiliaryHead", "SequenceConfig"]

_POOLINGS = ("attention", "mean")
_HEADS = ("linear", "auction")
_CRITICS = ("value", "bids")

ENCODERS: dict[str, Callable[[SequenceConfig], None] | None] = dict.fromkeys(
    ("window", "causal", "lstm")
)
"""Names that `encoder` may have, each with what checks the settings for it.
`rllib_seq.nn.register_encoder` adds to them: this module knows names, and needs no PyTorch."""

ENCODERS_ELSEWHERE: list[Callable[[str], bool]] = []
"""Asked about other names; return whether they have made the name known."""
_MAY_BE_LEFT_OUT = ("lstm_layers", "transformer_layers")

_Settings = TypeVar("_Settings", "SequenceConfig", "AuxiliaryHead")


@dataclasses.dataclass(frozen=True)
class AuxiliaryHead:
    """A prediction from the policy's encoder: how likely an event of the stream is.

    Raises:
        UserError: a value is of the wrong type or out of range.
    """

    horizon: int = 1
    """The event counts if it happens within so many steps of the stream, this one included."""

    given_action: bool = False
    """Predict for the action that is taken. Without it, for whatever the policy may do."""

    weight: float = 0.1
    """Of its cross-entropy (nats per step) in the loss. Policy and heads share the encoder and its
    gradients: too high a weight makes the policy worse."""

    def __post_init__(self) -> None:
        """Check every value; raises UserError."""
        if type(self.horizon) is not int or self.horizon < 1:
            _refuse(self, "horizon", "must be an int of at least 1")
        if not isinstance(self.given_action, bool):
            _refuse(self, "given_action", "must be True or False")
        if type(self.weight) not in (int, float) or not 0 < self.weight < math.inf:
            _refuse(self, "weight", "must be a number above 0; leave the head out to switch it off")


@dataclasses.dataclass(frozen=True)
class SequenceConfig:
    """Settings of the LSTM-Transformer sequence models.

    Examples:
        >>> SequenceConfig.from_dict({"window_length": 16}).window_length
        16

    Raises:
        UserError: a value is of the wrong type or out of range.
    """

    encoder: str = "window"
    """How a stream is read, by the name of a registered encoder. "window" encodes the last steps
    again at every step, in both directions; its state is data. "causal" reads every step once, in
    one direction, and carries activations: long memory for one pass. "lstm" is an LSTM alone, the
    cheapest. docs/guides/encoders.md says when to choose which, and
    `rllib_seq.nn.register_encoder` adds others."""

    encoder_config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Settings that only a registered encoder of your own has."""

    share_encoder: bool = False
    """Whether policy and value read one encoder. Cheaper; but the value's loss then moves what the
    policy reads."""

    window_length: int = 8
    """Steps that the model sees, the current one included (causal: that attention sees; the LSTM
    remembers beyond). Cost grows with it, most of all in a window, which is encoded again at every
    step; 8 touchpoints hold most of a user's journey."""

    d_model: int = 64
    """Width of every token. 64 trains about 1.7 times slower than 32 on CPU and is wide enough
    for 4 heads of 16; even, because each direction of the LSTM fills one half."""

    lstm_layers: int = 2
    """LSTM layers (bidirectional in a window): the first reads steps, the second reads what the
    first found. 0 leaves the LSTM out, in a window."""

    transformer_layers: int = 3
    """Transformer blocks after the LSTM; they are most of the cost. 0 leaves them out."""

    num_heads: int = 4
    """Attention heads; divides `d_model`. Four, so that recency, price and outcome can each have
    their own."""

    feedforward_dim: int = 128
    """Hidden width of the feed-forward half of a Transformer block. Twice `d_model`, not the usual
    four times: windows are short and the policy is trained on few steps."""

    pooling: str = "attention"
    """How a window becomes one vector: "attention" lets the current step ask for what matters to
    it, "mean" takes the mean of the tokens."""

    head_hidden: int = 128
    """Hidden width of the temporal head, the layers behind the memory."""

    dropout: float = 0.1
    """Share of activations dropped while training, in [0, 1). The on-policy adapter never applies
    it to the policy, because the new and old probability of an action must be comparable."""

    prev_action: bool = True
    """Append the previous action to the observation: in an auction the own bid explains the win."""

    prev_reward: bool = True
    """Append the previous reward to the observation: it tells what the last action brought."""

    embed_above: int = 64
    """A number in an observation (a Discrete or a part of a MultiDiscrete) with more values than
    this is embedded, by a vector for each value; with fewer it is one-hot."""

    head: str = "linear"
    """What the policy's features become: "linear" layers give the inputs of an action distribution,
    "auction" gives Q of all bid levels by the auction's structure, for `rllib_seq.lift`."""

    critic: str = "value"
    """What the value network learns: "value", a number per step, or "bids", Q of all bid levels by
    the auction's structure, for `rllib_seq.lift.OutcomePPO`."""

    price_context: Sequence[int] = ()
    """With `head="auction"` or `critic="bids"`, which parts of the observation tell, one-hot, on
    which channel a request comes: each has prices of its own. `LiftConfig` and `OutcomePPOConfig`
    set it."""

    flagged_inputs: Sequence[int] = ()
    """With `head="auction"` or `critic="bids"`, which parts of the observation are read as 1 where
    they are not 0. `LiftConfig` and `OutcomePPOConfig` name the profit of the last request: it
    tells that the request was won, and the price in it says nothing of the user."""

    auxiliary: Mapping[str, AuxiliaryHead] = dataclasses.field(default_factory=dict)
    """Predictions learned beside the policy: name of an event in the environment's infos to the
    fields of `AuxiliaryHead`, for example `{"won": {"given_action": True}}`. None by default: they
    cost time, and whether they help the policy is to be measured."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            UserError: naming the key, the value and how to fix it.
        """
        object.__setattr__(self, "auxiliary", _heads(self.auxiliary))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, bool):
                if not isinstance(value, bool):
                    _refuse(self, field.name, "must be True or False")
            elif isinstance(field.default, int):
                least = 0 if field.name in _MAY_BE_LEFT_OUT else 1
                if isinstance(value, bool) or not isinstance(value, int) or value < least:
                    _refuse(self, field.name, f"must be an int of at least {least}")
            elif isinstance(field.default, float):
                # A NaN fails every comparison, so it is refused here too.
                if type(value) not in (int, float) or not 0 <= value < 1:
                    _refuse(self, field.name, "must be a number in [0, 1)")
        if not isinstance(self.encoder_config, Mapping):
            raise UserError(f"encoder_config={self.encoder_config!r} must be a dict of settings")
        if self.head not in _HEADS:
            _refuse(self, "head", f"must be one of: {', '.join(_HEADS)}")
        if self.critic not in _CRITICS:
            _refuse(self, "critic", f"must be one of: {', '.join(_CRITICS)}")
        for name in ("price_context", "flagged_inputs"):
            if not all(type(part) is int and part >= 0 for part in getattr(self, name)):
                _refuse(self, name, "must be places in the observation, from 0")
        if self.pooling not in _POOLINGS:
            _refuse(self, "pooling", f"must be one of: {', '.join(_POOLINGS)}")
        self._check_encoder()
        if self.d_model % 2:
            raise UserError(
                f"d_model={self.d_model} must be even, one half for each direction of the LSTM; "
                f"try {self.d_model + 1}"
            )
        if self.d_model % self.num_heads:
            raise UserError(
                f"d_model={self.d_model} must be divisible by num_heads={self.num_heads}; "
                f"change one of them, for example d_model={_next_width(self)}"
            )

    def _check_encoder(self) -> None:
        name = self.encoder
        known = isinstance(name, str) and (
            name in ENCODERS or any(look_up(name) for look_up in ENCODERS_ELSEWHERE)
        )
        if not known:
            close = difflib.get_close_matches(str(name), ENCODERS, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(
                f"encoder={name!r} is unknown; {hint}Choose one of: {', '.join(ENCODERS)} (or "
                "register your own with rllib_seq.nn.register_encoder)"
            )
        if (check := ENCODERS[name]) is not None:
            check(self)

    @classmethod
    def from_dict(
        cls, mapping: Mapping[str, Any], where: str = "custom_model_config"
    ) -> SequenceConfig:
        """Build the configuration from settings; missing keys keep their default.

        Args:
            mapping: keys are field names of this class.
            where: what the user knows the mapping by, for the error message.

        Raises:
            UserError: a key is unknown, or a value is wrong.
        """
        return _from_dict(cls, mapping, where)


def _from_dict(cls: type[_Settings], mapping: Mapping[str, Any], where: str) -> _Settings:
    valid = [field.name for field in dataclasses.fields(cls)]
    for key in mapping:
        if key not in valid:
            close = difflib.get_close_matches(str(key), valid, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UserError(f"unknown key {key!r} in {where}; {hint}Valid keys: {', '.join(valid)}")
    return cls(**mapping)


def _heads(auxiliary: object) -> dict[str, AuxiliaryHead]:
    """The heads by name, from settings as a user writes them."""
    if not isinstance(auxiliary, Mapping):
        raise UserError(
            f"auxiliary={auxiliary!r} must map names of events to settings, for example "
            '{"won": {"given_action": True}}'
        )
    heads = {}
    for name, head in auxiliary.items():
        where = f"auxiliary[{name!r}]"
        # They become names of weights and of columns.
        if not isinstance(name, str) or not name.isidentifier():
            raise UserError(f"{where}: an event's name is letters, digits and underscores")
        if not isinstance(head, AuxiliaryHead | Mapping):
            raise UserError(f"{where}={head!r} must be a dict of settings; {{}} takes the defaults")
        if isinstance(head, Mapping):
            head = _from_dict(AuxiliaryHead, head, where)
        heads[name] = head
    return heads


def _refuse(settings: SequenceConfig | AuxiliaryHead, name: str, rule: str) -> None:
    default = type(settings).__dataclass_fields__[name].default
    raise UserError(f"{name}={getattr(settings, name)!r} {rule}; the default is {default!r}")


def _next_width(config: SequenceConfig) -> int:
    """The smallest even width above `d_model` that the heads can share."""
    width = config.d_model + 1
    while width % config.num_heads or width % 2:
        width += 1
    return width
