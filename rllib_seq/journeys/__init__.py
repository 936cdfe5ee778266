"""From an event log to journeys, patterns and attribution; numpy and pyarrow, no Ray.

- `event_log`: the log in memory, `load_events`; `reading`: all that knows file formats.
- `split`: users' events to journeys; `patterns`: what they have in common; `attribution`: which
  channel earned the conversions.
- `store`: `SequenceStore`, windows of many users in bounded memory.
- `command`, `tables`, `report`: what `rllib-seq discover` shows.

A bid server keeps its windows in a `SequenceStore` and reads no log, so names are loaded when they
are asked for: pyarrow alone takes a second and 100 MB.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rllib_seq.journeys.event_log import EventLog, load_events
    from rllib_seq.journeys.patterns import Patterns, discover
    from rllib_seq.journeys.store import SequenceStore

__all__ = ["EventLog", "Patterns", "SequenceStore", "discover", "load_events"]

_MODULES = {
    "EventLog": "event_log",
    "load_events": "event_log",
    "Patterns": "patterns",
    "discover": "patterns",
    "SequenceStore": "store",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
