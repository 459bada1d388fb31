"""``Deck``: a tab of the page that an attempt leaves behind, made by the code in it.

    from otel_events import Deck, current_context, task

    @task(enable_deck=True)
    def train(rows):
        Deck("Losses", frame)                        # table of pandas or polars, a figure of matplotlib or plotly, ...
        Deck("Notes").append(Markdown("# Done"))
        Deck("Mine", "<b>HTML</b>")                  # a string is HTML, as flytekit has it

What is appended is rendered at once, so that it shows as it was then and nothing of it is held on to.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from otel_events.deck.parts import Failure, Panel, Part, cut
from otel_events.deck.renderers import render
from otel_events.inprocess.context import current_context
from otel_events.inprocess.queue import fault

PARTS = 200
"""Parts of one deck."""
DECKS = 50
"""Decks of one attempt."""
NAME = 100
"""Characters of a deck's name."""


class DeckField(Enum):
    """Decks that a task can have made for it: ``deck_fields`` of ``@task``."""

    INPUT = "Input"
    OUTPUT = "Output"
    TIMELINE = "Timeline"
    SOURCE_CODE = "Source Code"
    DEPENDENCIES = "Dependencies"


class Deck:
    """A named tab, added to those of the run at hand unless ``auto_add_to_deck`` is False. Outside of any run it is
    kept by nobody but its maker. Raises nothing: content that cannot be rendered shows its error's class."""

    def __init__(self, name: str, html: Any = "", auto_add_to_deck: bool = True) -> None:
        self._name = cut(str(name), NAME)
        self._parts: list[Part] = []
        if not (isinstance(html, str) and not html):
            self.append(html)
        if auto_add_to_deck:
            _add(self)

    def append(self, content: Any) -> Deck:
        """Add content below what is there: anything that ``renderers`` knows; a string is HTML."""
        if len(self._parts) < PARTS:
            self._parts.append(render(content))
        elif len(self._parts) == PARTS:
            self._parts.append(Failure(reason=f"more than {PARTS} parts: what came after is left out"))
            fault("a deck", OverflowError(f"more than {PARTS} parts in one deck"))
        return self

    @property
    def name(self) -> str:
        return self._name

    @property
    def html(self) -> str:
        """What it shows, as in the page."""
        from otel_events.deck.document import fragment  # with Jinja2, which making a deck does not need

        return fragment(self.panel())

    def panel(self) -> Panel:
        """It as a tab."""
        return Panel(self._name, tuple(self._parts))

    @staticmethod
    def publish() -> None:
        """Write the page of the run at hand as its decks stand, and tell of it: for those who look meanwhile. At the
        end of the attempt it is written again. Without effect outside of any run."""
        from otel_events.deck.finish import publish  # as above

        publish(current_context())


def _add(deck: Deck) -> None:
    decks = current_context().decks
    if len(decks) < DECKS:
        decks.append(deck)
    else:
        fault("a deck", OverflowError(f"more than {DECKS} decks in one attempt"))
