"""ClearML: calls of its API as the gateway's own API and tee record them, recorded HTTP traffic, and offline sessions.

A record is one call: ``t`` (seconds), ``endpoint``, ``body``, ``status``, ``resp``, ``worker``. Body and answer are
objects, or the texts that went over the wire (JSON, or JSON lines for ``events.add_batch``). Calls of ``tasks.*``
become phases (tasks.py), reported events become stats, logs and reports (events.py). A call that was refused, or that
only reads, gives no events.

The gateway's own API and its tee have parsed a call already: they hand it over as an ``AnsweredCall`` to ``events_of``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any

import msgspec

from otel_events.model.event import AnyEvent, Log
from otel_events.model.nesting import shallow
from otel_events.model.record import ParsedRecord
from otel_events.sources.clearml import tasks as clearml_tasks
from otel_events.sources.clearml.events import Batch, Reported
from otel_events.sources.clearml.fields import Call, Events, digest, members, task_run, wrong
from otel_events.sources.clearml.session import ENDPOINT as SESSION

__all__ = ["AnsweredCall", "decode", "events_of", "parsed_record", "recorded", "tells_of_runs"]

ADD, ADD_BATCH = "events.add", "events.add_batch"
READS = (".get_", ".validate")
"""Calls with one of these in their names change nothing; but tasks.get_by_id says what a task is."""
_END_OF_TIME_S = 2**63 // 10**9


class AnsweredCall(msgspec.Struct, frozen=True):
    """One call of ClearML's API that was answered with 200, parsed.

    ``t``: epoch seconds of the answer. ``body``: the fields of the request, ``{"events": [...]}`` for
    ``events.add_batch``. ``data``: of the answer. ``version``: the one that was asked for.
    """

    t: float
    endpoint: str
    body: dict[str, Any]
    data: Any = None
    version: str = ""
    worker: str = ""


class _Record(msgspec.Struct, gc=False):
    t: float
    endpoint: str
    body: msgspec.Raw = msgspec.Raw(b"{}")
    status: int = 200
    resp: msgspec.Raw = msgspec.Raw(b"{}")
    worker: str = ""
    task: str = ""


class _Events(msgspec.Struct, gc=False):
    events: list[Reported]


class _Answer(msgspec.Struct, gc=False):
    data: dict[str, Any] | None = None


_record = msgspec.json.Decoder(_Record)
_events = msgspec.json.Decoder(_Events)
_event = msgspec.json.Decoder(Reported)
_answer = msgspec.json.Decoder(_Answer)
_object = msgspec.json.Decoder(dict[str, Any])
_text = msgspec.json.Decoder(str)


def tells_of_runs(endpoint: str) -> bool:
    """Whether a call of this endpoint may change a run, or say what a task is.

    >>> tells_of_runs("tasks.started"), tells_of_runs("tasks.get_all")
    (True, False)
    """
    if endpoint in (ADD, ADD_BATCH, "tasks.get_by_id"):
        return True
    return endpoint.startswith(("tasks.", "models.")) and not any(part in endpoint for part in READS)


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """The events of one recorded call.

    Args:
        record: The call as JSON.
        hint: Not used.

    Returns:
        Its events; none where it tells nothing of a run.

    Raises:
        DecodeError: The record is no call.
    """
    try:
        call = _record.decode(shallow(record))
        _check_time(call.t)
        if call.endpoint == SESSION:
            body = _object.decode(call.body)
            return clearml_tasks.session(Call(call.endpoint, _nanoseconds(call.t), body, {}, call.task))
        if call.status != 200 or not tells_of_runs(call.endpoint):
            return []
        return _decode_added(call) if call.endpoint in (ADD, ADD_BATCH) else _decode_changed(call)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise wrong(str(error)) from error


def events_of(call: AnsweredCall) -> list[AnyEvent]:
    """The events of a parsed call: those that ``decode`` gives for its recorded form.

    Args:
        call: The call. It is not changed.

    Returns:
        Its events; none where it tells nothing of a run.

    Raises:
        DecodeError: It cannot be a call: its time, or the form of its events.

    >>> answer = {"fields": {"status": "in_progress"}}
    >>> event, = events_of(AnsweredCall(1.7e9, "tasks.started", {"task": "t"}, answer))
    >>> event.phase
    'running'
    """
    try:
        _check_time(call.t)
        if not tells_of_runs(call.endpoint):
            return []
        if call.endpoint not in (ADD, ADD_BATCH):
            return clearml_tasks.decode(
                Call(call.endpoint, _nanoseconds(call.t), _as_json(call.body), members(call.data))
            )
        # Ids of stats are a digest of the body's JSON, so that a call which is sent again gives the same ids, and so
        # does its recorded form.
        content = msgspec.json.encode(call.body)
        return _added(call.t, _converted(call.body), content, call.data, call.worker)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise wrong(str(error)) from error


def recorded(call: AnsweredCall) -> bytes:
    """The call as a record, which ``decode`` takes."""
    return msgspec.json.encode(
        {
            "t": call.t,
            "endpoint": call.endpoint,
            "version": call.version,
            "body": call.body,
            "status": 200,
            "resp": {"data": call.data},
            "worker": call.worker,
        }
    )


def parsed_record(call: AnsweredCall) -> ParsedRecord:
    """The call as the gateway takes it: its events are made of the object, its JSON only where it is stored."""
    return ParsedRecord(partial(events_of, call), partial(recorded, call), call.endpoint)


def _check_time(seconds: float) -> None:
    if not 0 < seconds < _END_OF_TIME_S:
        raise wrong(f"`t` is {seconds!r}, no time in seconds after 1970")


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000) * 1_000


def _as_json(value: Any) -> Any:
    """The value as it is after a way through JSON, which has null for NaN and the infinities."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {name: _as_json(member) for name, member in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list) else value


def _decode_changed(call: _Record) -> Events:
    body = _wire(bytes(call.body), lambda text: _object.decode(text) if text.strip() else {})
    return clearml_tasks.decode(Call(call.endpoint, _nanoseconds(call.t), body, _data(call)))


def _wire(raw: bytes, read: Callable[[bytes], Any]) -> Any:
    """What ``read`` makes of a part that is an object, or a text with what went over the wire."""
    return read(shallow(_text.decode(raw).encode()) if raw[:1] == b'"' else raw)


def _data(call: _Record) -> dict[str, Any]:
    """``data`` of the answer; {} where it was not recorded whole."""
    try:
        return members(_wire(bytes(call.resp), _answer.decode).data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}


def _decode_added(call: _Record) -> Events:
    raw = bytes(call.body)
    return _added(call.t, _parsed(raw), raw, _data(call), call.worker, call.task)


def _parsed(raw: bytes) -> list[Reported]:
    if raw[:1] == b'"':
        return [_event.decode(line) for line in _text.decode(raw).encode().split(b"\n") if line.strip()]
    try:
        return _events.decode(raw).events
    except msgspec.ValidationError:
        return [_event.decode(raw)]  # one plain object is a batch too


def _converted(body: dict[str, Any]) -> list[Reported]:
    try:
        return msgspec.convert(body, _Events).events
    except msgspec.ValidationError:
        return [msgspec.convert(body, Reported)]  # as in _parsed


def _added(
    seconds: float, reported: list[Reported], content: bytes, data: object, worker: str, session: str = ""
) -> Events:
    """The events of a batch, and a log of what the server refused. ``session``: the task of an offline session."""
    events = Batch(_nanoseconds(seconds), content, session, worker).decode(reported)
    return events + _refused(seconds, reported, data, session)


def _refused(seconds: float, reported: list[Reported], data: object, session: str) -> Events:
    """What the server refused of a batch of which it took the rest, with its reasons."""
    info = members(members(data).get("errors_info"))
    reasons = {why: times for why, times in info.items() if type(times) is int}
    if not reasons:
        return []
    summary = ", ".join(f"{why} ({times})" for why, times in sorted(reasons.items()))
    first = next((event.task for event in reported if type(event.task) is str), "")
    return [
        Log(
            id=f"{first}:refused:{digest(seconds, summary)}",
            time=_nanoseconds(seconds),
            run=task_run(session or first),
            attributes={"clearml.events.refused": sum(reasons.values())},
            message=f"events refused: {summary}"[:4096],
            severity=clearml_tasks.WARN,
            event_name="clearml.events.refused",
        )
    ]
