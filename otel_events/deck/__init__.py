"""Decks: what an attempt shows of itself, as one HTML file with tabs. For users: docs/decks.md.

| module | holds |
|---|---|
| model, renderers, parts | ``Deck``; what is put into one becomes parts: plain data |
| document | parts become the file |
| fields | the decks that are made for a task: ``DeckField`` |
| finish, place | the page of an attempt; where files are stored |
| recorded | the page of a run and all below it, from a journal and the files |
"""

from __future__ import annotations

from otel_events.deck.model import Deck as Deck
from otel_events.deck.model import DeckField as DeckField
from otel_events.deck.renderers import Markdown as Markdown
from otel_events.deck.renderers import Text as Text
from otel_events.deck.renderers import register as register
