"""Encoders by name.

- `register_encoder`: gives an encoder a name
- `encoder_class`, `encoder_names`: what is registered
- `make_encoder`: builds one from settings
- `share_registrations`: with processes that registered nothing
"""

from __future__ import annotations

from collections.abc import Callable

from rllib_seq.config import ENCODERS, ENCODERS_ELSEWHERE, SequenceConfig
from rllib_seq.errors import UserError
from rllib_seq.nn.encoders.base import LENGTH, StreamEncoder
from rllib_seq.nn.encoders.parts import PartsEncoder
from rllib_seq.nn.step_reader import StepParts

_classes: dict[str, type[StreamEncoder]] = {}
_listeners: list[Callable[[str, type[StreamEncoder]], None]] = []


def register_encoder(name: str, cls: type[StreamEncoder]) -> None:
    """Give an encoder a name, for the `encoder` setting; an older one of that name is replaced.

    Args:
        name: letters, digits and underscores.
        cls: constructed with `(input_dim, config)`.

    Raises:
        UserError: the name is not one, or the class is not a `StreamEncoder`.

    Examples:
        >>> from rllib_seq.nn.encoders.lstm import LSTMEncoder
        >>> register_encoder("my_lstm", LSTMEncoder)
        >>> make_encoder(10, SequenceConfig(encoder="my_lstm")).output_dim
        64
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise UserError(f"encoder name {name!r} must be letters, digits and underscores")
    if not (isinstance(cls, type) and issubclass(cls, StreamEncoder)):
        raise UserError(
            f"encoder {name!r} must be a subclass of rllib_seq.nn.StreamEncoder, not {cls!r}"
        )
    _classes[name] = cls
    ENCODERS[name] = cls.check
    for listener in _listeners:
        listener(name, cls)


def encoder_class(name: str) -> type[StreamEncoder]:
    """Return the encoder of this name.

    Raises:
        UserError: there is none.
    """
    if name not in _classes:
        SequenceConfig(encoder=name)  # raises, or makes it known
    return _classes[name]


def encoder_names() -> list[str]:
    """Return all registered names."""
    return list(_classes)


def make_encoder(
    input_dim: int,
    config: SequenceConfig,
    *,
    for_values: bool = False,
    parts: StepParts | None = None,
) -> StreamEncoder:
    """Build the encoder that the settings ask for.

    Args:
        input_dim: width of a raw step input.
        config: settings.
        for_values: build the variant for a value network.
        parts: frames and large numbers in a step input; None: there are none.

    Raises:
        ValueError: the encoder is unknown, a setting is wrong for it, or `input_dim` is not a
            positive int.
        TypeError: the encoder does not say what it has to.
    """
    if parts is not None:

        def behind(width: int) -> StreamEncoder:
            return make_encoder(width, config, for_values=for_values)

        return PartsEncoder(input_dim, config, parts, behind)
    cls = encoder_class(config.encoder)
    encoder = (cls.for_values if for_values else cls)(input_dim, config)
    shapes, width = getattr(encoder, "state_shapes", {}), getattr(encoder, "output_dim", None)
    if type(width) is not int or shapes.get(LENGTH) != (1,):
        raise TypeError(
            f"{type(encoder).__name__} must set output_dim, an int, and state_shapes with "
            f"{LENGTH!r}: (1,); it has output_dim={width!r} and state_shapes={shapes!r}"
        )
    reach = encoder.reach(encoder.config)
    data = {"inputs": (max((reach or 0) - 1, 1), input_dim), LENGTH: (1,)}
    if reach is not None and dict(shapes) != data:
        raise TypeError(
            f"{type(encoder).__name__} has a reach of {reach}, so its state_shapes must be {data}, "
            f"not {shapes!r}"
        )
    return encoder


def share_registrations(
    publish: Callable[[str, type[StreamEncoder]], None],
    look_up: Callable[[str], type[StreamEncoder] | None],
) -> None:
    """Share registrations with other processes.

    Args:
        publish: called with every name and class, of now and of later.
        look_up: returns the class of a name that is not registered in this process, or None.
    """

    def find(name: str) -> bool:
        if (cls := look_up(name)) is not None:
            register_encoder(name, cls)
        return cls is not None

    for name, cls in _classes.items():
        publish(name, cls)
    _listeners.append(publish)
    ENCODERS_ELSEWHERE.append(find)
