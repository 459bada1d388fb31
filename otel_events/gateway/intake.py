"""Records of sources into commits, and what cannot be decoded into dead letters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from otel_events.core.metrics import Metrics
from otel_events.gateway.writer import Writer
from otel_events.intake.ingest import Accepted, Batch, DeadLetter, decode_parsed, decode_records
from otel_events.intake.records import ParsedRecord, Record, Refused
from otel_events.journal import Journal
from otel_events.model.errors import JournalError
from otel_events.model.event import AnyEvent
from otel_events.sources import Decode, decoder

LETTERS = 10_000
"""Dead letters that are remembered, of batches that could not be journalled and will come again."""


class Intake:
    """Takes records and events. Both ``decode*`` run on any thread, the rest under the gateway's lock."""

    def __init__(self, journal: Journal, writer: Writer, metrics: Metrics, keep_records: bool) -> None:
        self._journal, self._writer, self._metrics, self._keep_records = journal, writer, metrics, keep_records
        self._decoders: dict[str, Decode] = {}
        self._buried: set[DeadLetter] = set()

    def decode(self, source: str, records: Iterable[Record | Refused]) -> Batch:
        """Decode and redact records. Raises ConfigError for an unknown source."""
        decode = self._decoders.get(source) or self._decoders.setdefault(source, decoder(source))
        return decode_records(source, decode, records, self._keep_records)

    def decode_parsed(self, source: str, records: Sequence[ParsedRecord]) -> Batch:
        """Decode and redact records that were parsed already."""
        return decode_parsed(source, records, self._keep_records)

    def take(self, source: str, batch: Batch) -> Accepted:
        """Commit what was decoded, and its dead letters. Raises JournalError: nothing was taken."""
        self._writer.require_open()
        self._bury(batch.dead)
        try:
            duplicates = self._writer.commit(batch.events, batch.masked or None)
        except JournalError:
            self._buried = {*batch.dead, *self._buried} if len(self._buried) < LETTERS else set(batch.dead)
            raise
        self._metrics.internal.received(source, batch.records)
        for _ in batch.dead:
            self._metrics.internal.dead_letter(source)
        return self._accepted(source, batch.events, duplicates, batch.dead)

    def take_events(self, source: str, events: Sequence[AnyEvent]) -> Accepted:
        """Commit events that are redacted already. Raises JournalError: nothing was taken."""
        self._writer.require_open()
        return self._accepted(source, events, self._writer.commit(events), [])

    def _bury(self, letters: Iterable[DeadLetter]) -> None:
        """Store dead letters with the next commit.

        The journal stores them even where the commit of their batch fails. When the batch is offered again, they must
        not be stored twice.
        """
        for letter in letters:
            if letter in self._buried:
                self._buried.remove(letter)
            else:
                self._journal.dead(letter.source, letter.where, letter.reason, letter.record, letter.length)

    def _accepted(
        self, source: str, events: Sequence[AnyEvent], duplicates: int, refused: list[DeadLetter]
    ) -> Accepted:
        accepted = len(events) - duplicates
        self._metrics.internal.appended(source, accepted, duplicates)
        return Accepted(accepted, duplicates, refused)
