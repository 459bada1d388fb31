"""``otel-events context``: the trace context of a run, for a child process or a remote job of it."""

from __future__ import annotations

import shlex
from contextlib import closing
from typing import Annotated

import msgspec
import typer

from otel_events.cli.common import JournalOption, JsonOption, journal_path
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, RunNotFound
from otel_events.model.event import KINDS, Kind, Run
from otel_events.model.identity import span_id, trace_id, traceparent
from otel_events.views.explain import recorded_attempts

TRACEPARENT = "TRACEPARENT"
PARENT = "OTEL_EVENTS_PARENT"

RunArgument = Annotated[str, typer.Argument(metavar="[RUN]", help="Id of a run in the journal.", show_default=False)]
Source = Annotated[str, typer.Option(metavar="SOURCE", help="Without a journal: the run's source.", show_default=False)]
Namespace = Annotated[str, typer.Option(metavar="TEXT", help="Its namespace.", show_default=False)]
Root = Annotated[str, typer.Option(metavar="ID", help="Id of its outermost run; else its own.", show_default=False)]
Id = Annotated[str, typer.Option("--id", metavar="ID", help="Its id.", show_default=False)]
Attempt = Annotated[int, typer.Option(metavar="NUMBER", min=0, help="Its attempt, from 1; 0: the last.")]
KindOption = Annotated[
    str, typer.Option("--kind", metavar="KIND", help="workflow, node or task; else workflow for an outermost run.")
]


def context(
    run: RunArgument = "",
    journal: JournalOption = "",
    json: JsonOption = False,
    source: Source = "",
    namespace: Namespace = "",
    root: Root = "",
    id_: Id = "",
    attempt: Attempt = 0,
    kind: KindOption = "",
) -> None:
    """Print the trace context of a run as variables, for a child process or a remote job of it.

    What starts with them becomes part of the run's trace: TRACEPARENT is the W3C form that OpenTelemetry reads,
    OTEL_EVENTS_PARENT names the run for the tasks of otel-events. Of a run in the journal; or, with --source and --id,
    derived from its natural ids alone: anywhere, before anything was recorded, with the same result.

    Examples:

        eval "$(otel-events context flytesnacks/development/a7xk2p9qv5)"
        otel-events context --source ray --root 01000000 --id 16310a0f0a45af5c --kind task
        otel-events context 0690a4 --json | jq -r .TRACEPARENT
    """
    if bool(run) == bool(source or id_):
        raise ConfigError("name a run of the journal, or --source and --id: one of the two")
    if run:
        variables = _recorded(run, journal, attempt)
    else:
        variables = _derived(
            Run(source, _kind(kind, root in ("", id_)), id_, "", root or id_, None, attempt or 1, namespace)
        )
    if json:
        typer.echo(msgspec.json.encode(variables).decode())
    else:
        typer.echo("\n".join(f"export {name}={shlex.quote(value)}" for name, value in variables.items()))


def _kind(given: str, outermost: bool) -> Kind:
    for kind in KINDS:
        if kind == given:
            return kind
    if given or not outermost:
        raise ConfigError(f"--kind is {given!r}: it takes {', '.join(KINDS)}; only of an outermost run it is known")
    return "workflow"


def _derived(run: Run) -> dict[str, str]:
    if not (run.source and run.id):
        raise ConfigError("--source and --id are both needed: ids are derived from them")
    trace = trace_id(run.source, run.namespace, run.root)
    span = span_id(run.source, run.namespace, run.id, run.attempt, run.kind)
    return _variables(run, traceparent(trace, span))


def _recorded(run: str, journal: str, attempt: int) -> dict[str, str]:
    """Of the attempt asked for, else the last."""
    with closing(Journal.reader(journal_path(journal))) as reader:
        recorded = recorded_attempts(reader, run)
    fits = [closed for closed in recorded if attempt in (0, closed.attempt.run.attempt)]
    if not fits:
        numbers = ", ".join(sorted(str(closed.attempt.run.attempt) for closed in recorded))
        raise RunNotFound(f"no attempt {attempt} of {run!r}: those there are: {numbers}")
    last = max(fits, key=lambda closed: closed.attempt.run.attempt)
    return _variables(last.attempt.run, traceparent(last.where.trace_id, last.where.span_id))


def _variables(run: Run, context: str) -> dict[str, str]:
    return {TRACEPARENT: context, PARENT: msgspec.json.encode(run).decode()}
