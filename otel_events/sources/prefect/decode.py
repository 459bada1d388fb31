"""Prefect 3: events of the server (one, a websocket frame, or a page of them), and answers of its REST API.

The content of a record shows which of these it is, so ``hint`` is not used. State events become changes of phase
(states.py), answers of the API become logs with links (rest.py), and everything else becomes a log or a report by the
table of families (tables.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, Link, Log, Report, Run, Scalar
from otel_events.model.nesting import shallow
from otel_events.sources.prefect.fields import (
    FLOW_RUN,
    ID,
    LONGEST,
    NAME,
    SOURCE,
    TASK_RUN,
    Context,
    add_other_task,
    bare,
    context,
    cut,
    json_text,
    labels,
    nanoseconds,
    part,
    scalar,
    wrong,
)
from otel_events.sources.prefect.rest import FlowRunAnswer, TaskRunAnswer, snapshot
from otel_events.sources.prefect.states import flow_run, state_event, task_run
from otel_events.sources.prefect.tables import MEDIA_TYPES, SEVERITIES, Family, families_table, family

__all__ = ["decode", "families_table"]


class _Event(msgspec.Struct, gc=False):
    """An event's fields; those that a record lacks keep the default and are asked for by ``_one``."""

    occurred: str = ""
    event: str = ""
    resource: dict[str, str] = {}
    related: msgspec.Raw = msgspec.Raw(b"")
    payload: msgspec.Raw = msgspec.Raw(b"")
    id: str = ""
    follows: str | None = None


class _Record(msgspec.Struct, gc=False):
    """Any of the four shapes: an event (``event`` a text), a frame (``event`` an object), a page, REST answers."""

    occurred: str = ""
    event: str | _Event = ""
    resource: dict[str, str] = {}
    related: msgspec.Raw = msgspec.Raw(b"")
    payload: msgspec.Raw = msgspec.Raw(b"")
    id: str = ""
    follows: str | None = None
    events: list[_Event] | UnsetType = UNSET
    task_runs: dict[str, TaskRunAnswer] | UnsetType = UNSET
    flow_runs: dict[str, FlowRunAnswer] | UnsetType = UNSET


_any: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_RUNS = (FLOW_RUN, TASK_RUN)  # of resource ids, and of event names too
_EMPTY: tuple[Any, ...] = (None, "", [], {})
_record = msgspec.json.Decoder(_Record)


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """Decode one record of Prefect.

    Args:
        record: JSON: an event, a websocket frame, a page of events, or answers of the REST API.
        hint: Not used.

    Returns:
        One event for an event or a frame, one for each event of a page, several for REST answers.

    Raises:
        DecodeError: The record is none of these, or an event lacks time, id, name or resource. A page is refused as a
            whole.
    """
    try:
        events = _decode(_record.decode(shallow(record)))
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise wrong(str(error)) from error
    if len(record) > LONGEST:
        for event in events:
            cut(event.attributes)
    return events


def _decode(record: _Record) -> list[AnyEvent]:
    if isinstance(record.event, _Event):
        return [_event_of(record.event)]
    if record.events is not UNSET:
        return [_numbered(index, event) for index, event in enumerate(record.events)]
    if record.task_runs is not UNSET or record.flow_runs is not UNSET:
        return list(snapshot(record.task_runs or {}, record.flow_runs or {}))
    return [_event_of(record)]


def _numbered(index: int, event: _Event) -> AnyEvent:
    try:
        return _event_of(event)
    except DecodeError as error:
        raise DecodeError(f"events[{index}]: {error}") from error


def _event_of(event: _Event | _Record) -> AnyEvent:
    name, resource = event.event, event.resource
    own = resource.get(ID, "")
    if not (name and own and event.id and isinstance(name, str)):
        raise wrong(f"{', '.join(_missing(event))} missing or empty")
    time = nanoseconds(event.occurred, "occurred")
    where = context(bytes(event.related))
    if own in _RUNS:
        raise wrong(f"`resource.{ID}` is {own!r}, without the run's id")
    if "prefect.state-type" in resource and own.startswith(_RUNS) and name.startswith(_RUNS):
        return state_event(event.id, name, time, resource, where, bytes(event.payload), event.occurred)
    return _other(event, name, time, where)


def _missing(event: _Event | _Record) -> Iterator[str]:
    fields = (("event", event.event), (f"resource.{ID}", event.resource.get(ID)), ("id", event.id))
    return (f"`{name}`" for name, value in fields if not value)


def _other(event: _Event | _Record, name: str, time: int, where: Context) -> Log | Report:
    """Everything that changes no state, by the table of families."""
    row = family(name)
    own = event.resource[ID]
    run = _run(own, where, row)
    raw = bytes(event.payload)
    payload = part("payload", _any, raw) if raw else None
    attributes = _attributes(event, row, where, run, payload)
    links = _launcher(run, where) if row.names_launcher else ()
    title = event.resource.get(NAME) or bare(own)
    if row.report:
        return _report(event.id, time, run, attributes, own, row, title)
    word = name[len(row.prefix) :] if row.pattern != name else ""
    message = row.says.format(name=title, word=word.replace("-", " "), event=name)
    if reason := attributes.get(f"prefect.{row.noun}.reason"):
        message += f": {reason}"
    severity = SEVERITIES.get(word.rpartition(".")[2], 9) if row.severity == 9 else row.severity
    return Log(
        id=event.id,
        time=time,
        run=run,
        attributes=attributes,
        links=links,
        message=message[:LONGEST],
        severity=severity,
        event_name=name,
    )


def _run(own: str, where: Context, row: Family) -> Run:
    """The run that an event belongs to: its resource, else a related one, else none (id "", root the resource)."""
    if own.startswith(FLOW_RUN):
        return flow_run(own[len(FLOW_RUN) :], where)
    if own.startswith(TASK_RUN):
        return task_run(own[len(TASK_RUN) :], where)
    if where.task_run and (row.prefers == "task-run" or not where.flow_run):
        return task_run(where.task_run, where)
    if where.flow_run:
        return flow_run(where.flow_run, where)
    return Run(SOURCE, "task", "", "", own, attempt=0)


def _attributes(event: _Event | _Record, row: Family, where: Context, run: Run, payload: Any) -> dict[str, Scalar]:
    attributes = {**where.attributes}
    _add_runs(attributes, where, run, row)
    if event.follows:
        attributes["prefect.follows"] = event.follows
    own = event.resource[ID]
    if not own.startswith(_RUNS):
        attributes[f"prefect.{row.noun}.id"] = bare(own)
    if event.resource.get(NAME):
        attributes[f"prefect.{row.noun}.name"] = event.resource[NAME]
    if row.open_labels:
        others = {key: value for key, value in event.resource.items() if key not in (ID, NAME)}
    else:
        others = labels(attributes, event.resource)
    if others:
        attributes["prefect.labels"] = json_text(others)
    _add_payload(attributes, row, payload)
    return attributes


def _add_runs(attributes: dict[str, Scalar], where: Context, run: Run, row: Family) -> None:
    """Names of the run and of its flow run; the id of the other run that the roles name."""
    if where.flow_run_name and where.flow_run == run.root:
        attributes["prefect.flow_run.name"] = where.flow_run_name
    if where.task_run_name and where.task_run == run.id:
        attributes["prefect.task_run.name"] = where.task_run_name
    if where.task_run and where.task_run != run.id:
        add_other_task(
            attributes, "prefect.launcher.task_run" if row.names_launcher else "prefect.context.task_run", where
        )
    if where.flow_run and where.flow_run != run.root:
        attributes["prefect.context.flow_run.id"] = where.flow_run


def _add_payload(attributes: dict[str, Scalar], row: Family, payload: Any) -> None:
    rest = payload
    if isinstance(payload, dict):
        values = {key: value for key, value in payload.items() if row.open_labels or value not in _EMPTY}
        rest = {key: value for key, value in values.items() if key not in row.keeps and key not in row.withholds}
        attributes |= {f"prefect.{row.noun}.{key}": scalar(values[key]) for key in row.keeps if key in values}
    if rest not in _EMPTY:
        attributes["prefect.payload"] = json_text(rest)


def _launcher(run: Run, where: Context) -> tuple[Link, ...]:
    """A heartbeat's task-run role is the task that called this flow; a link needs that task's own flow run too."""
    if where.task_run and where.flow_run and where.flow_run != run.id:
        return (Link("launched_by", where.task_run, "task", where.flow_run),)
    return ()


def _report(
    event_id: str, time: int, run: Run, attributes: dict[str, Scalar], own: str, row: Family, title: str
) -> Report:
    key, kind = attributes.get(f"prefect.{row.noun}.key"), attributes.get(f"prefect.{row.noun}.type")
    asset = row.noun == "asset"
    return Report(
        id=event_id,
        time=time,
        run=run,
        attributes=attributes,
        name=(own if asset else str(key or title))[:LONGEST],
        media_type=MEDIA_TYPES.get(str(kind), ""),
        uri=own[:LONGEST] if asset else "",
    )
