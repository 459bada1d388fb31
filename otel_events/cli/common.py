"""What the commands share: their options, messages on stderr, progress, which exit code an error has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from otel_events.journal.place import journal_path as journal_path  # every command takes it from here
from otel_events.model.errors import ConfigError, JournalError, OtelEventsError
from otel_events.views.explain import printable

REFUSED = 1
"""Exit code: the command ran, and something was refused, not found, not sent or not in order."""
USAGE = 2
"""Exit code: the command could not run as it was called or set up."""
EXIT_CODES: tuple[tuple[type[OtelEventsError], int], ...] = (
    (ConfigError, USAGE),
    (JournalError, USAGE),
    (OtelEventsError, REFUSED),
)

JOURNAL_HELP = "File of the journal; else $OTEL_EVENTS_JOURNAL, else otel-events/journal.db in the user's state folder."

JournalOption = Annotated[str, typer.Option("--journal", metavar="FILE", help=JOURNAL_HELP, show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs instead of text.")]


def say(text: str) -> None:
    """A line on stderr. What comes from outside cannot act on the terminal: control characters show as code points."""
    typer.echo("\n".join(printable(line) for line in text.split("\n")), err=True)


def fail(error: OtelEventsError) -> int:
    """Print an expected error as one message; returns the exit code."""
    say(f"otel-events: {error}")
    return next(code for kind, code in EXIT_CODES if isinstance(error, kind))


@contextmanager
def progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """(what, how many are done, of how many or None) -> a bar on stderr; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int | None) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
