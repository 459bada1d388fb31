"""The page of a run and all below it: the decks that its attempts left, a timeline of them, and what they report.

It can be made for a run of any source: the journal gives the timeline and the reports, the files the other tabs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from otel_events.core import redact
from otel_events.core.spans import NANO
from otel_events.deck import document, place
from otel_events.deck.finish import MEDIA_TYPE, REPORT, times
from otel_events.deck.parts import Bar, Failure, Page, Panel, Table, Timeline, cut
from otel_events.journal import Journal
from otel_events.model.errors import JournalError, RunNotFound
from otel_events.model.event import Report
from otel_events.views.explain import Step, recorded

PAGES = 30
"""Decks of attempts that one page shows; those after are named."""
BARS = 500
"""Attempts on the timeline."""
REPORTS = 500
"""Reports in the table."""


def page_of(run: str, journal: Path, under: Path) -> str:
    """Make the page of a run.

    Args:
        run: Its id, or the beginning of a root's.
        journal: Path of the journal.
        under: The folder of decks.

    Returns:
        HTML.

    Raises:
        RunNotFound: Neither the journal nor the folder has it.
        ConfigError: Several roots begin with ``run``.
        JournalError: The journal cannot be read, and there is no deck.
    """
    try:
        with closing(Journal.reader(journal)) as reader:
            steps = [step for steps in recorded(reader, run) for step in steps]
    except (RunNotFound, JournalError) as error:
        files = place.named(run, under)
        if not files:
            raise type(error)(f"{error}; and no deck of it is in {under}, where $OTEL_EVENTS_DECKS says") from None
        return document.render(document.Heading(run), _pages([(path.stem, path) for path in files]))
    every = [step for top in steps for step, _ in _walk(top)]
    pages = [(step, path) for step in every if (path := place.path_of(step.run, under)).is_file()]
    panels = [*_pages([(_name(step), path) for step, path in pages]), _timeline(steps)]
    if reports := [(step, report) for step in every for report in step.reports if not _is_shown(report)]:
        panels.append(_reports(reports))
    return document.render(_heading(steps), panels)


def _walk(step: Step, level: int = 0) -> Iterator[tuple[Step, int]]:
    yield step, level
    for child in step.children:
        yield from _walk(child, level + 1)


def _name(step: Step) -> str:
    run = step.run
    name = run.name or (run.workflow if run.kind == "workflow" else "") or run.id.rsplit("/", 1)[-1]
    return cut(f"{name} attempt {run.attempt}" if run.attempt > 1 else name, 200)


def _heading(steps: Sequence[Step]) -> document.Heading:
    first, last = steps[0], steps[-1]
    run = first.run
    where = [("namespace", run.namespace)] if run.namespace else []
    facts = [("source", run.source), *where, ("kind", run.kind), ("run", run.id), *times(first.start, last.end)]
    return document.Heading(_name(first), last.outcome or "incomplete", facts)


def _pages(files: Sequence[tuple[str, Path]]) -> list[Panel]:
    panels = [Panel(name, [_page(name, path)]) for name, path in files[:PAGES]]
    if more := files[PAGES:]:
        rows = [(name, str(path)) for name, path in more]
        panels.append(Panel(f"{len(more)} more", [Table(heads=("deck", "file"), rows=rows[:REPORTS])]))
    return panels


def _page(name: str, path: Path) -> Page | Failure:
    try:
        return Page(html=path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:  # removed meanwhile, or another user's
        return Failure(reason=f"{path} cannot be read: {error.strerror}")


def _timeline(steps: Sequence[Step]) -> Panel:
    walked = [(step, level) for top in steps for step, level in _walk(top)]
    begin = min(step.start for step, _ in walked)
    end = max(step.end for step, _ in walked)
    bars = [_bar(step, level, begin) for step, level in walked[:BARS]]
    note = f"The first {BARS} of {len(walked):,} attempts." if len(walked) > BARS else ""
    return Panel("Timeline", [Timeline(bars=bars, seconds=(end - begin) / NANO, note=note)])


def _bar(step: Step, level: int, begin: int) -> Bar:
    return Bar(
        name=_name(step),
        start=(step.start - begin) / NANO,
        seconds=(step.end - step.start) / NANO,
        waited=((step.running or step.end) - step.start) / NANO,
        level=level,
        tone=step.outcome or "incomplete",
        critical=step.critical,
    )


def _is_shown(report: Report) -> bool:
    """Whether it is the report of a deck of ours, which has a tab or is on another machine's disk."""
    return report.name == REPORT and report.media_type == MEDIA_TYPE and report.uri.startswith("file:")


def _reports(reports: Sequence[tuple[Step, Report]]) -> Panel:
    rows = [
        (_name(step), report.name, report.media_type, redact.text(report.uri) or cut(redact.text(report.content), 500))
        for step, report in reports[:REPORTS]
    ]
    note = f"The first {REPORTS} of {len(reports):,}." if len(reports) > REPORTS else ""
    return Panel("Reports", [Table(heads=("run", "name", "type", "what"), rows=rows, links=True, note=note)])
