"""The journal: the durable, ordered, deduplicated ledger of events. Everything later is a function of its commits."""

from __future__ import annotations

from otel_events.journal.journal import Commit, Journal
from otel_events.journal.pack import Chunk, Closing, pack, unpack
from otel_events.journal.reader import DeadLetter, Reader, RootRow, Stats
from otel_events.journal.repair import OpenReport
from otel_events.journal.retain import Trimmed
from otel_events.journal.schema import Durability

__all__ = [
    "Chunk",
    "Closing",
    "Commit",
    "DeadLetter",
    "Durability",
    "Journal",
    "OpenReport",
    "Reader",
    "RootRow",
    "Stats",
    "Trimmed",
    "pack",
    "unpack",
]
