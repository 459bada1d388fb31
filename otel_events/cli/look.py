"""``otel-events runs | explain | dump``: what the journal tells, while a gateway writes it or after."""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any, Literal

import msgspec
import typer

from otel_events.cli.common import JournalOption, JsonOption, journal_path, say
from otel_events.core.fold import Attempt, attempts
from otel_events.core.spans import NANO
from otel_events.journal import Journal, Reader, RootRow
from otel_events.model.errors import ConfigError
from otel_events.model.event import AnyEvent, PhaseChange
from otel_events.views.execution_span import ExecutionSpan
from otel_events.views.explain import Step, data, printable, recorded, text

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, or the beginning of a root's.")]
Format = Annotated[
    Literal["tree", "flyte"],
    typer.Option(metavar="FORMAT", help="tree: our own; flyte: time by operation, as flytekit's FlyteExecutionSpan."),
]
Utc = Annotated[
    bool, typer.Option("--utc", help="Times in UTC with --format flyte; else local ones, as flytekit's are.")
]
Limit = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="How many, the newest first.")]


def runs(limit: Limit = 20, json: JsonOption = False, journal: JournalOption = "") -> None:
    """List the outermost runs in the journal, the most recently heard of first.

    A gateway may be writing the journal meanwhile. Times are UTC.

    Examples:

        otel-events runs --limit 50
        otel-events runs --json | jq 'select(.outcome == "failed").id'
    """
    with closing(Journal.reader(journal_path(journal))) as reader:
        each = (listed(reader, row) for row in reader.roots(order="recent"))
        rows = list(islice((summary for summary in each if summary), limit))
    if json:
        sys.stdout.writelines(msgspec.json.encode(row).decode() + "\n" for row in rows)
    elif rows:
        typer.echo(table([HEADS, *([printable(str(row[head])) for head in HEADS] for row in rows)]))
    else:
        say("no runs yet: `otel-events replay --journal FILE` or `otel-events serve` takes some in")


HEADS = ("outcome", "start", "seconds", "events", "source", "namespace", "workflow", "id")


def listed(reader: Reader, row: RootRow) -> dict[str, Any] | None:
    """One row of the list, of the root's own attempts; None for what never ran (log records have roots too)."""
    events = _events(reader, row)
    if not any(isinstance(event, PhaseChange) for event in events):
        return None
    of_root = [
        attempt for attempt in attempts([event for event in events if event.run.id == row.root]) if attempt.start
    ]
    start = of_root[0].start if of_root else row.first_time
    end = of_root[-1].end if of_root and of_root[-1].outcome else row.last_time
    return {
        "outcome": _outcome(of_root, row),
        "start": _time(start),
        "seconds": round((end - start) / NANO, 3),
        "events": row.events,
        "source": row.source,
        "namespace": row.namespace,
        "workflow": next((name for attempt in of_root if (name := attempt.run.workflow or attempt.run.name)), ""),
        "id": row.root,
    }


def _outcome(of_root: list[Attempt], row: RootRow) -> str:
    if of_root and of_root[-1].outcome:
        return of_root[-1].outcome
    return "open" if row.open else "incomplete"


def _events(reader: Reader, row: RootRow) -> list[AnyEvent]:
    return [event for chunk in reader.root_chunks(row.key, records=False) for event in chunk.events]


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / NANO, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def table(rows: list[Any]) -> str:
    """Columns side by side, as wide as their widest cell; never cut, for ids are there to be copied."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def explain(run: RunArgument, journal: JournalOption = "", format: Format = "tree", utc: Utc = False) -> None:  # noqa: A002 - the option's name
    """Show where the time of a run went: queued, running and idle, and the critical path (marked *).

    Times are UTC. What has not ended yet shows as incomplete, up to the last that was heard of it.

    Examples:

        otel-events explain flytesnacks/development/a7xk2p9qv5
        otel-events explain 0690a4 --journal runs.db
        otel-events explain 0690a4 --format flyte --utc
    """
    if format == "flyte":
        ExecutionSpan.of(run, journal).explain(UTC if utc else None)
        return
    for steps in recorded_steps(run, journal):
        typer.echo(text(steps), nl=False)


def dump(run: RunArgument, journal: JournalOption = "", json: JsonOption = False, format: Format = "tree") -> None:  # noqa: A002 - as above
    """Print the tree of a run as YAML: ids, outcomes, times, seconds queued, running and idle.

    It is what explain shows, for programs. With --format flyte: the seconds of each operation, summed up by node.

    Examples:

        otel-events dump flytesnacks/development/a7xk2p9qv5 > run.yaml
        otel-events dump 0690a4 --json | jq '.[].seconds'
        otel-events dump 0690a4 --format flyte
    """
    if format == "flyte":
        if json:
            raise ConfigError("--format flyte is YAML: leave out --json")
        ExecutionSpan.of(run, journal).dump()
        return
    encode = msgspec.json.encode if json else msgspec.yaml.encode
    for steps in recorded_steps(run, journal):
        typer.echo(encode(data(steps)).decode().rstrip("\n"))


def recorded_steps(run: str, journal: str) -> list[list[Step]]:
    """As ``explain.recorded``, of the journal that the option or the environment names."""
    with closing(Journal.reader(journal_path(journal))) as reader:
        return recorded(reader, run)
