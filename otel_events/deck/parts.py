"""The parts of a deck: plain data within bounds, each of a kind that the page can show.

Text in them is text: the page escapes it. Only ``Prose`` holds markup of our own making, and ``Foreign``, ``Plot`` and
``Page`` what somebody else made, which the page shuts in a frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import msgspec

LARGEST = 8 * 1024 * 1024
"""Characters of one part's HTML, figure or image; what is larger is left out, and the page says so."""
LONGEST = 200_000
"""Characters of one part's text; what is longer is cut, and the page says so."""
CELL = 2_000
"""Characters of one cell of a table."""
ROWS, COLUMNS = 100, 30
"""Of a table that is shown; the page says what was cut."""


class Part(msgspec.Struct, kw_only=True):
    """What all parts have: a title above, "" for none, and a note below."""

    kind: ClassVar[str] = ""
    title: str = ""
    note: str = ""


class Plain(Part):
    """Text, shown line by line."""

    kind = "plain"
    text: str


class Prose(Part):
    """HTML that was made here from text in which HTML is escaped (Markdown)."""

    kind = "prose"
    html: str


class Table(Part):
    """``numeric``: columns that are set to the right. ``links``: cells that are web addresses lead there."""

    kind = "table"
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: Sequence[bool] = ()
    links: bool = False


class Picture(Part):
    """An image as a data URI; ``alt`` says what it shows."""

    kind = "picture"
    uri: str
    alt: str


class Plot(Part):
    """A figure of plotly: ``json`` is an object with ``data`` and ``layout``; ``height`` in pixels."""

    kind = "plot"
    json: str
    height: int


class Foreign(Part):
    """Somebody's HTML, shown in a frame in which nothing runs and nothing loads."""

    kind = "foreign"
    html: str


class Page(Part):
    """A page of ours, as it was written at the end of an attempt; in a frame of its own."""

    kind = "page"
    html: str


class Bar(msgspec.Struct):
    """A row of a timeline. Times are in seconds, ``start`` from the timeline's beginning. ``tone``: the outcome of a
    run, "section" for anything else."""

    name: str
    start: float
    seconds: float
    waited: float = 0.0
    """Seconds at its beginning in which it was queued."""
    level: int = 0
    tone: str = ""
    critical: bool = False


class Timeline(Part):
    """Bars over ``seconds``."""

    kind = "timeline"
    bars: Sequence[Bar]
    seconds: float


class Failure(Part):
    """In place of what could not be shown: the error's class, or why."""

    kind = "failure"
    reason: str


class Panel(msgspec.Struct):
    """One tab of a page."""

    name: str
    parts: Sequence[Part]


class Tab:
    """What a user puts into the decks of an attempt; ``Deck`` is one."""

    def panel(self) -> Panel:
        """The tab as it stands."""
        raise NotImplementedError


def cut(text: str, limit: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def too_large(what: str, size: int) -> Failure:
    """In place of a part over LARGEST."""
    return Failure(reason=f"{what} of {size:,} characters is left out: {LARGEST:,} at most")
