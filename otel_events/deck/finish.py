"""The page of an attempt that has decks: written at its end, where its span says. The task's result is unharmed,
whatever becomes of the page (law 5)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from otel_events.core import redact
from otel_events.deck import document, fields, place
from otel_events.deck.parts import Failure, Panel, Tab, cut
from otel_events.inprocess import process
from otel_events.inprocess.attempts import ProcessAttempt
from otel_events.inprocess.ended import EndedCall
from otel_events.inprocess.faults import fault
from otel_events.inprocess.reports import report
from otel_events.model.event import Scalar

URI = "otel_events.deck.uri"
"""Attribute of the span: where the page is."""
REPORT, MEDIA_TYPE = "deck", "text/html"
FAULT = "a deck"
OUTSIDE = "local"
"""Title of a page outside of any run, as flytekit names what runs there."""

_last: Path | None = None


def at_end(call: EndedCall) -> dict[str, Scalar]:
    """Write the page of an attempt that is about to end.

    Args:
        call: The call; its attempt has an outcome.

    Returns:
        Attributes of the span; {} where the page could not be written.
    """
    attempt, until = call.attempt, time.time_ns()
    panels = [*_own(attempt), *fields.panels(call, until)]
    facts = _facts(attempt, until)
    if call.error is not None:
        facts.append(("error", _words(call.error)))
    heading = document.Heading(call.name, attempt.outcome, facts)
    return _write(attempt, document.render(heading, panels))


def publish(attempt: ProcessAttempt) -> None:
    """Write the page of an attempt that goes on, with what its code has put into decks. Raises nothing."""
    try:
        if attempt.run is not None:
            _write(attempt, page(attempt))
    except Exception as error:  # noqa: BLE001  # objects of the user's; the attempt goes on (law 5)
        fault(FAULT, error)


def page(attempt: ProcessAttempt) -> str:
    """The page of the decks as they stand. Raises nothing.

    Args:
        attempt: Whose decks they are.

    Returns:
        HTML; outside of any run, that of this process's last attempt that had a page.
    """
    title = attempt.run.name if attempt.run is not None else OUTSIDE
    try:
        if attempt.run is None and not attempt.has_decks and _last is not None and _last.is_file():
            return _last.read_text(encoding="utf-8")
        panels = _own(attempt)
        facts = []
        if attempt.run is not None and attempt.began:
            now = time.time_ns()
            facts = _facts(attempt, now)
            if attempt.laps is not None:
                panels.append(Panel("Timeline", fields.timeline(attempt, attempt.run.name, now)))
        return document.render(document.Heading(title, "", facts), panels)
    except Exception as error:  # noqa: BLE001  # objects of the user's; the code that asks goes on (law 5)
        fault(FAULT, error)
        return document.render(document.Heading(title), [])


def _write(attempt: ProcessAttempt, text: str) -> dict[str, Scalar]:
    global _last
    assert attempt.run is not None, "only a run has a page"  # noqa: S101  # both callers have checked it
    path = place.path_of(attempt.run, place.folder(process.journal_in_use() or ""))
    try:
        place.store(path, text)
        uri = path.absolute().as_uri()
    except OSError as error:
        fault("writing a deck", error)
        return {}
    _last = path
    report(attempt.run, REPORT, MEDIA_TYPE, uri=uri)
    return {URI: uri}


def _own(attempt: ProcessAttempt) -> list[Panel]:
    return [deck.panel() if isinstance(deck, Tab) else _no_deck(deck) for deck in attempt.decks]


def _no_deck(deck: object) -> Panel:
    """In place of something else that somebody appended to ``current_context().decks``."""
    return Panel(cut(type(deck).__name__, 100), [Failure(reason="no deck: append otel_events.Deck(name, content)")])


def _facts(attempt: ProcessAttempt, until: int) -> list[tuple[str, str]]:
    run = attempt.run
    assert run is not None, "only a run has facts"  # noqa: S101  # all callers have checked it
    return [
        ("kind", run.kind),
        ("run", run.id),
        ("attempt", str(run.attempt)),
        *times(attempt.began, until),
    ]


def times(start: int, end: int) -> Sequence[tuple[str, str]]:
    """When it started and how long it took; ns."""
    at = datetime.fromtimestamp(start // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (("started", at), ("took", document.span((end - start) / 1e9)))


def _words(error: BaseException) -> str:
    try:
        return cut(redact.text(f"{type(error).__name__}: {error}"), 500)
    except Exception:  # noqa: BLE001  # the __str__ of a foreign exception may raise
        return type(error).__name__
