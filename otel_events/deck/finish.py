"""The end of an attempt that has decks: its page is written, and its span says where. The task's result is unharmed,
whatever becomes of its page (law 5)."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from otel_events.core import redact
from otel_events.deck import document, fields, place
from otel_events.deck.model import Deck
from otel_events.deck.parts import Failure, Panel, cut
from otel_events.inprocess.queue import fault

if TYPE_CHECKING:
    from otel_events.inprocess.context import TaskContext
    from otel_events.model.event import Scalar
    from otel_events.tasks.runs import Called

URI = "otel_events.deck.uri"
"""Attribute of the span: where the page is."""
REPORT, MEDIA_TYPE = "deck", "text/html"
FAULT = "a deck"

_last: Path | None = None


def at_end(called: Called) -> dict[str, Scalar]:
    """Write the page of an attempt that is about to end; attributes of its span, {} where it could not be written."""
    from otel_events.tasks.runs import outcome  # it is loaded: an attempt ends

    context, until = called.context, time.time_ns()
    context.outcome = outcome(called.error) if called.error is not None else "succeeded"
    shown = [*_own(context), *fields.panels(called, until)]
    facts = _facts(context, until)
    if called.error is not None:
        facts.append(("error", _words(called.error)))
    heading = document.Heading(called.site.definition.name, context.outcome, facts)
    return _keep(context, document.render(heading, shown))


def publish(context: TaskContext) -> None:
    """Write the page of an attempt that goes on, with what its code has put into decks. Raises nothing."""
    try:
        if context.run is not None:
            _keep(context, page(context))
    except Exception as error:  # noqa: BLE001  # law 5
        fault(FAULT, error)


def page(context: TaskContext) -> str:
    """The page as the decks stand; outside of any run that of this process's last attempt that had one."""
    try:
        if context.run is None and not context.has_decks and _last is not None and _last.is_file():
            return _last.read_text(encoding="utf-8")
        shown = _own(context)
        facts = []
        if context.run is not None and context.began:
            now = time.time_ns()
            facts = _facts(context, now)
            if context.laps is not None:
                shown.append(Panel("Timeline", fields.timeline(context, context.run.name, now)))
        return document.render(document.Heading(context.task_id, "", facts), shown)
    except Exception as error:  # noqa: BLE001  # law 5
        fault(FAULT, error)
        return document.render(document.Heading(context.task_id), [])


def _keep(context: TaskContext, text: str) -> dict[str, Scalar]:
    global _last
    assert context.run is not None, "only a run has a page"  # noqa: S101  # asked before
    path = place.path_of(context.run, place.folder(_journal()))
    try:
        place.keep(path, text)
        uri = path.absolute().as_uri()
    except OSError as error:
        fault("writing a deck", error)
        return {}
    _last = path
    context.report(REPORT, MEDIA_TYPE, uri=uri)
    return {URI: uri}


def _journal() -> Path | str:
    process = sys.modules.get("otel_events.inprocess.process")  # loaded where somebody has configured
    return (process.journal_in_use() if process is not None else None) or ""


def _own(context: TaskContext) -> list[Panel]:
    return [deck.panel() if isinstance(deck, Deck) else _strange(deck) for deck in (context.decks or ())]


def _strange(deck: object) -> Panel:
    """What somebody appended to ``current_context().decks`` that is no deck."""
    return Panel(cut(type(deck).__name__, 100), [Failure(reason="no deck: append otel_events.Deck(name, content)")])


def _facts(context: TaskContext, until: int) -> list[tuple[str, str]]:
    run = context.run
    assert run is not None, "only a run has facts"  # noqa: S101  # asked before
    return [
        ("kind", run.kind),
        ("run", run.id),
        ("attempt", str(run.attempt)),
        *times(context.began, until),
    ]


def times(start: int, end: int) -> Sequence[tuple[str, str]]:
    """When it started and how long it took; ns."""
    at = datetime.fromtimestamp(start // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return (("started", at), ("took", document.span((end - start) / 1e9)))


def _words(error: BaseException) -> str:
    try:
        return cut(redact.text(f"{type(error).__name__}: {error}"), 500)
    except Exception:  # noqa: BLE001  # what an exception says of itself may fail
        return type(error).__name__
