"""Decks: what an attempt shows of itself, as one HTML file with tabs. docs/decks.md tells it to users.

| module | holds |
|---|---|
| model, renderers, parts | ``Deck``; what is put into one -> parts: plain data |
| document | parts -> the file |
| fields | the decks that are made for a task: ``DeckField`` |
| finish, place | the end of an attempt; where files are kept |
| recorded | the page of a run and all below it, from a journal and the files |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_events.deck.model import Deck as Deck
from otel_events.deck.model import DeckField as DeckField
from otel_events.deck.renderers import Markdown as Markdown
from otel_events.deck.renderers import Text as Text
from otel_events.deck.renderers import register as register

if TYPE_CHECKING:
    from otel_events.inprocess.context import TaskContext
    from otel_events.model.event import Scalar
    from otel_events.tasks.runs import Called


def at_end(called: Called) -> dict[str, Scalar]:
    """Make the page of an attempt that is about to end; attributes of its span."""
    from otel_events.deck import finish  # with Jinja2, which making a deck does not need

    return finish.at_end(called)


def page(context: TaskContext) -> str:
    """The page of an attempt's decks as they stand; outside of any, that of the last attempt of this process."""
    from otel_events.deck import finish  # as above

    return finish.page(context)
