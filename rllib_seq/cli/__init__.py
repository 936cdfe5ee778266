"""The command line: `rllib-seq`.

Every command takes `--json FILE`. Progress and tables go to stdout, errors to stderr; exit code 2
means that the user can fix it, 130 that a signal stopped it.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from rllib_seq import __version__
from rllib_seq.cli import learning, serving, tools
from rllib_seq.cli.extras import extra_with
from rllib_seq.cli.response import response
from rllib_seq.errors import Interrupted, UserError

__all__ = ["COMMANDS", "app", "main"]

_EXAMPLES = """
Examples:

    rllib-seq train tune_configs.ppo --preset journey --stop-time-s 300

    rllib-seq train --preset log --log auctions.parquet --budget-ratio 1/32

    rllib-seq tune tune_configs.ppo_asha --num-samples 8

    rllib-seq evaluate runs/RUN --episodes 4 --seed 2000

    rllib-seq report runs/RUN

    rllib-seq discover events.parquet

    rllib-seq response events.parquet --output response

    rllib-seq export runs/RUN policy

    rllib-seq serve policy --budget 100

    rllib-seq ledger campaign.sqlite --adjust spend=-12.5 --reason "credit note 17"

    rllib-seq score policy records --output scored

    rllib-seq bench discover
"""

app = typer.Typer(
    help="Sequence models for RLlib, and the multi-user ad auction that proves them.",
    epilog=_EXAMPLES,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

# Typer does not export it: the base of everything that is wrong with a command's words.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__bases__[0]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rllib-seq {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Keeps the commands as commands, however many there are."""


COMMANDS = (
    learning.train,
    learning.tune,
    learning.evaluate,
    learning.report,
    tools.discover,
    response,
    serving.export,
    serving.serve,
    serving.ledger,
    serving.score,
    tools.bench,
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Runs the command line; user errors become one line and exit code 2."""
    # Clusters end what they run by SIGTERM: let everything be cleaned up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if "" not in sys.path:
        sys.path.insert(0, "")  # the current folder, as `python -m` does
    try:
        code = app(standalone_mode=False)
    except _UsageError as error:
        print(f"error: {error.format_message()} (see rllib-seq --help)", file=sys.stderr)
        sys.exit(2)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        extra = extra_with(error.name)
        if extra is None:
            raise
        print(
            f'error: {error.name} is not installed; run: pip install "rllib-seq[{extra}]"',
            file=sys.stderr,
        )
        sys.exit(2)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        sys.exit(130)
    except typer.Abort:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or 0)
