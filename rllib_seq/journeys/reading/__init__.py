"""Files to events: the only place that knows file formats.

- `sources`: files, folders and patterns; `batches`, `json_lines`: their rows, by pyarrow.
- `schema`: how columns, events and times are named; `schemas/`: the ready ones.
- `formats`: which file is which; `events`, `paths`: rows to events.
- `columns`, `times`: values of any type to text, numbers and times; `bad_rows`: what was wrong.
"""

from rllib_seq.journeys.reading.bad_rows import BadRows
from rllib_seq.journeys.reading.schema import READY, ReadingOptions, reading_options

__all__ = ["READY", "BadRows", "ReadingOptions", "reading_options"]
