"""``Deck``: a tab of the page of an attempt, made by the code in it.

    from otel_events import Deck, current_context, task

    @task(enable_deck=True)
    def train(rows):
        Deck("Losses", frame)                        # table of pandas or polars, a figure of matplotlib or plotly, ...
        Deck("Notes").append(Markdown("# Done"))
        Deck("Mine", "<b>HTML</b>")                  # a string is HTML, as flytekit has it

What is appended is rendered at once: it shows as it was at that time, and the object itself is not held.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from otel_events.deck.parts import Failure, Panel, Part, Tab, cut
from otel_events.deck.renderers import render
from otel_events.inprocess.context import current_attempt
from otel_events.inprocess.faults import fault

PARTS = 200
"""Parts of one deck."""
DECKS = 50
"""Decks of one attempt."""
NAME = 100
"""Characters of a deck's name."""


class DeckField(Enum):
    """Decks that are made for a task: ``deck_fields`` of ``@task``.

    >>> DeckField("Source Code").name
    'SOURCE_CODE'
    """

    INPUT = "Input"
    OUTPUT = "Output"
    TIMELINE = "Timeline"
    SOURCE_CODE = "Source Code"
    DEPENDENCIES = "Dependencies"


class Deck(Tab):
    """A named tab of the page of the current run. Outside of any run it is on no page.

    Raises nothing: content that cannot be rendered shows as the class of its error.

    >>> deck = Deck("Losses", [{"epoch": 1, "loss": 0.5}])
    >>> deck.append("<b>best so far</b>").name
    'Losses'
    """

    def __init__(self, name: str, html: Any = "", auto_add_to_deck: bool = True) -> None:
        """
        Args:
            name: Shown on the tab.
            html: The first content: a string is HTML, other objects are rendered by ``renderers``; "": none.
            auto_add_to_deck: Whether to add the tab to the page of the current run.
        """
        self._name = cut(str(name), NAME)
        self._parts: list[Part] = []
        if not (isinstance(html, str) and not html):
            self.append(html)
        if auto_add_to_deck:
            _add(self)

    def append(self, content: Any) -> Deck:
        """Add content below what is there.

        Args:
            content: A string is HTML; other objects are rendered by ``renderers``.

        Returns:
            The deck itself.
        """
        if len(self._parts) < PARTS:
            self._parts.append(render(content))
        elif len(self._parts) == PARTS:
            self._parts.append(Failure(reason=f"more than {PARTS} parts: what came after is left out"))
            fault("a deck", OverflowError(f"more than {PARTS} parts in one deck"))
        return self

    @property
    def name(self) -> str:
        """The name on its tab."""
        return self._name

    @property
    def html(self) -> str:
        """Its HTML, as on the page."""
        from otel_events.deck.document import fragment  # Jinja2, which only pages need

        return fragment(self.panel())

    def panel(self) -> Panel:
        """The tab as it stands."""
        return Panel(self._name, tuple(self._parts))

    @staticmethod
    def publish() -> None:
        """Write the page of the current run while it goes on, and report where it is.

        At the end of the attempt the page is written again. Nothing happens outside of any run.
        """
        from otel_events.deck.finish import publish  # Jinja2, which only pages need

        attempt = current_attempt()
        if attempt is not None:
            publish(attempt)


def _add(deck: Deck) -> None:
    attempt = current_attempt()
    if attempt is None:
        return
    decks = attempt.decks
    if len(decks) < DECKS:
        decks.append(deck)
    else:
        fault("a deck", OverflowError(f"more than {DECKS} decks in one attempt"))
