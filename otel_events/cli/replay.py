"""``otel-events replay``: records of files to telemetry, the same bytes however they are shuffled or repeated."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from otel_events.cli.common import REFUSED, progress, say
from otel_events.core.metrics import Metrics
from otel_events.intake.ingest import DeadLetter
from otel_events.intake.records import STDIN, Record, Refused, read, shown
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError
from otel_events.otlp import from_env
from otel_events.replay.replay import Summary
from otel_events.replay.replay import replay as run_replay
from otel_events.replay.sinks import FileSink, OtlpSink
from otel_events.sources import decoder, load_source, source_names

FEW = 10_000
"""Marks of repeats that the journal remembers: a replay leaves repeats to the fold, and its memory flat."""
NAMED = 20
"""Refused records that are named one by one; the others are counted by reason."""

Source = Annotated[str, typer.Argument(help=f"Whose records these are: {', '.join(source_names())}.")]
Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH", help="Files, folders (read through, hidden files left out), .gz of either, or - for stdin."
    ),
]
Out = Annotated[
    str,
    typer.Option(metavar="DIR", help="Write files here instead of sending OTLP to $OTEL_EXPORTER_OTLP_ENDPOINT."),
]
JournalFile = Annotated[
    str,
    typer.Option(
        "--journal", metavar="FILE", help="Keep the events in this journal (for runs, explain); else none is kept."
    ),
]


def replay(source: Source, paths: Paths, out: Out = "", journal: JournalFile = "") -> None:
    """Read records and send what they tell as traces, metrics and logs.

    A file named .json or .pb is one record, every other file a record a line; for ray-workflow also the storage of Ray
    2.47 or earlier: the folder or URL given as ray.init(storage=...); for clearml also an offline session, as a zip or
    folder. Times are those of the events; runs that have no end in the input are closed as incomplete. With --out:
    traces.jsonl and logs.jsonl (OTLP JSON, as the collector's file exporter writes it), metrics.prom and
    dead_letters.jsonl.

    Exit code 1: a record was refused (which, and why, is on stderr), or telemetry was not taken.

    Examples:

        otel-events replay flyte records/ --out out/
        otel-events replay prefect events.jsonl.gz more.jsonl
        kubectl logs flyteadmin | otel-events replay flyte - --journal runs.db
        otel-events replay ray-workflow /mnt/ray-storage --out out/
        otel-events replay clearml offline-0fbc0730.zip --out out/
    """
    decoder(source)
    for path in paths:
        if path != STDIN and not os.path.exists(path) and _own(source, path) is None:
            raise ConfigError(f"no file or folder {shown(path)}: check the path (- reads standard input)")
    summary = _run(source, paths, out, journal)
    say(figures(summary, out))
    if summary.dead:
        say(refused(summary.dead))
        raise typer.Exit(REFUSED)


def _run(source: str, paths: list[str], out: str, journal: str) -> Summary:
    config = from_env(os.environ)
    with ExitStack() as stack:
        sink = stack.enter_context(closing(FileSink(Path(out), config) if out else OtlpSink(config)))
        opened = stack.enter_context(
            Journal.open(journal, seen_limit=FEW) if journal else Journal.temporary(seen_limit=FEW)
        )
        bars = stack.enter_context(progress())
        return run_replay(source, _records(source, paths), journal=opened, sink=sink, metrics=Metrics(), progress=bars)


def _records(source: str, paths: list[str]) -> Iterator[Record | Refused]:
    for path in paths:
        own = _own(source, path) if path != STDIN else None
        yield from read([path]) if own is None else own


def _own(source: str, path: str) -> Iterator[Record | Refused] | None:
    """The records of a thing of the source's own (a storage, a session); None where the path is none."""
    if not load_source(source).read:
        return None
    own: Iterator[Record | Refused] | None = load_source(source).load("read")(path)
    return own


def figures(summary: Summary, out: str) -> str:
    """The figures of a replay in one line."""
    parts = [
        f"{summary.records:,} records",
        f"{summary.events:,} events ({summary.duplicates:,} repeated)",
        f"{summary.roots:,} traces",
        f"{summary.spans:,} spans ({summary.incomplete:,} incomplete)",
        f"{summary.logs:,} log records",
        f"{len(summary.dead):,} refused",
    ]
    return f"{', '.join(parts)}; {'written to ' + shown(out) if out else 'sent'}"


def refused(dead: list[DeadLetter]) -> str:
    """The first refused records by place and reason, then how many more there are by reason."""
    lines = [f"refused {letter.where}: {letter.reason}" for letter in dead[:NAMED]]
    rest = Counter(letter.reason for letter in dead[NAMED:])
    lines += [f"refused {count:,} more: {reason}" for reason, count in rest.most_common(NAMED)]
    if len(rest) > NAMED:
        lines.append(
            f"refused {sum(rest.values()) - sum(n for _, n in rest.most_common(NAMED)):,} more for other reasons"
        )
    return "\n".join(lines)
