"""From an event log to journeys, patterns and attribution; numpy and pyarrow, no Ray.

- `event_log`: the log in memory, `load_events`; `reading`: all that knows file formats.
- `split`: users' events to journeys; `patterns`: what they have in common; `attribution`: which
  channel earned the conversions.
- `store`: `SequenceStore`, windows of many users in bounded memory.
- `command`, `tables`, `report`: what `rllib-seq discover` shows.
"""

from rllib_seq.journeys.event_log import EventLog, load_events
from rllib_seq.journeys.patterns import Patterns, discover
from rllib_seq.journeys.store import SequenceStore

__all__ = ["EventLog", "Patterns", "SequenceStore", "discover", "load_events"]
