"""``otel-events deck``: the page of a run."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from otel_events.cli.common import JournalOption, journal_path, say
from otel_events.cli.look import RunArgument
from otel_events.deck import place
from otel_events.deck.recorded import page_of
from otel_events.model.errors import ConfigError

Out = Annotated[str, typer.Option("--out", "-o", metavar="FILE", help="Write it here; else into the folder of decks.")]
Open = Annotated[bool, typer.Option("--open", help="Open it in the browser.")]


def deck(run: RunArgument, out: Out = "", open: Open = False, journal: JournalOption = "") -> None:  # noqa: A002 - the option's name
    """Make one HTML file of a run and all below it, and print its path: decks, timeline, reports.

    Decks are looked for in $OTEL_EVENTS_DECKS, else in the folder decks beside the journal. The file asks nobody for
    anything: it can be sent on as it is.

    Examples:

        otel-events deck 0690a4 --open
        otel-events deck flytesnacks/development/a7xk2p9qv5 -o run.html
    """
    where = journal_path(journal)
    under = place.folder(where)
    text = page_of(run, where, under)
    path = Path(out).expanduser() if out else under / place.PAGES / f"{place.safe(run)}.html"
    try:
        place.write(path, text)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}; name another file with -o") from None
    typer.echo(str(path.absolute()))
    if open and not webbrowser.open(path.absolute().as_uri()):
        say("no browser could be opened: open the file above in one")
