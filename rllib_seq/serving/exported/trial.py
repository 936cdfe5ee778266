"""`python -m rllib_seq.serving.exported.trial FOLDER`: loads an export and ends.

What a damaged or hostile file does to a process, it does to this one and not to the server. Prints
the SHA-256 of the model if the export passes its self-test; else one line on stderr, exit code 2.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

from rllib_seq.errors import UserError
from rllib_seq.serving.exported.loading import load_export

_CPU_SECONDS = 300


def main() -> None:
    """Tries the export that the command line names."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
    try:
        print(load_export(Path(sys.argv[1])).spec.model.sha256)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
