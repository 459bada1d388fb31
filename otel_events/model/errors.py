"""Every exception that we raise. Messages say what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class OtelEventsError(Exception):
    """Base of every error that we raise."""


class DecodeError(OtelEventsError, ValueError):
    """A record cannot become events. The caller keeps the record as a dead letter and goes on with the next."""


class PartlyDecoded(DecodeError):
    """A record of several events, some of which cannot be decoded. The caller takes those that can (``events``, of the
    event union) and keeps the others, each (where in the record, reason, bytes), as dead letters of their own."""

    def __init__(self, message: str, events: Sequence[Any], refused: Sequence[tuple[str, str, bytes]]) -> None:
        super().__init__(message)
        self.events, self.refused = list(events), list(refused)


class ConfigError(OtelEventsError, ValueError):
    """A setting is wrong; the message names the setting and what it takes."""


class SourceError(OtelEventsError):
    """A dashboard or API that we poll gave no usable answer; the message names it and the next step."""


class JournalError(OtelEventsError):
    """The journal cannot be opened or written; the message names the file and the next step."""


class StoreError(OtelEventsError):
    """The store of reported events cannot be opened or written; the message names the file and the next step."""


class ExportError(OtelEventsError):
    """The endpoint did not accept telemetry; the message names the endpoint, its answer and what happens next."""


class RunNotFound(OtelEventsError, LookupError):
    """No run of that id is in the journal; the message says how to list those that are."""
