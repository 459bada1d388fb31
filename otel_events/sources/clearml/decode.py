"""ClearML: calls of its API as the gateway's own API and tee record them, recorded HTTP traffic, and offline sessions.

A record is one call: ``t`` (s), ``endpoint``, ``body``, ``status``, ``resp``, ``worker``; body, answer are objects or
the texts that went over the wire (JSON, or JSON lines for ``events.add_batch``). Calls of ``tasks.*`` become phases
(clearml_tasks.py), reported events become stats, logs and reports (clearml_events.py). A call that was refused, or only
reads, tells nothing of a run: no events.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from otel_events.model.event import AnyEvent, Log
from otel_events.model.nesting import shallow
from otel_events.sources.clearml import tasks as clearml_tasks
from otel_events.sources.clearml.events import Batch, Reported
from otel_events.sources.clearml.fields import Call, Events, digest, members, task_run, wrong
from otel_events.sources.clearml.session import ENDPOINT as SESSION

__all__ = ["decode", "tells"]

ADD, ADD_BATCH = "events.add", "events.add_batch"
READS = (".get_", ".validate")
"""Calls with one of these in their names change nothing; tasks.get_by_id says what a task is."""
_END_OF_TIME_S = 2**63 // 10**9


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


def tells(endpoint: str) -> bool:
    """Whether a call may tell something of a run."""
    if endpoint in (ADD, ADD_BATCH, "tasks.get_by_id"):
        return True
    return endpoint.startswith(("tasks.", "models.")) and not any(part in endpoint for part in READS)


def decode(record: bytes, hint: str = "") -> list[AnyEvent]:
    """The events of one call; none where it tells nothing of a run. DecodeError for what is no call's record."""
    try:
        call = _record.decode(shallow(record))
        if not 0 < call.t < _END_OF_TIME_S:
            raise wrong(f"`t` is {call.t!r}, no time in seconds after 1970")
        if call.endpoint == SESSION:
            return clearml_tasks.session(Call(call.endpoint, _time(call), _object.decode(call.body), {}, call.task))
        if call.status != 200 or not tells(call.endpoint):
            return []
        return _added(call) if call.endpoint in (ADD, ADD_BATCH) else _changed(call)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise wrong(str(error)) from error


def _time(call: _Record) -> int:
    return round(call.t * 1_000_000) * 1_000


def _changed(call: _Record) -> Events:
    body = _wire(bytes(call.body), lambda text: _object.decode(text) if text.strip() else {})
    return clearml_tasks.decode(Call(call.endpoint, _time(call), body, _data(call)))


def _wire(raw: bytes, read: Callable[[bytes], Any]) -> Any:
    """What ``read`` makes of a part that is an object, or a text with what went over the wire."""
    return read(shallow(_text.decode(raw).encode()) if raw[:1] == b'"' else raw)


def _data(call: _Record) -> dict[str, Any]:
    """``data`` of the answer; {} where it was not kept whole."""
    try:
        return members(_wire(bytes(call.resp), _answer.decode).data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return {}


def _added(call: _Record) -> Events:
    raw = bytes(call.body)
    reported = _reported(raw)
    return Batch(_time(call), raw, call.task, call.worker).decode(reported) + _refused(call, reported)


def _reported(raw: bytes) -> list[Reported]:
    if raw[:1] == b'"':
        return [_event.decode(line) for line in _text.decode(raw).encode().split(b"\n") if line.strip()]
    try:
        return _events.decode(raw).events
    except msgspec.ValidationError:
        return [_event.decode(raw)]  # one plain object is a batch too


def _refused(call: _Record, reported: list[Reported]) -> Events:
    """What the server refused of a batch of which it took the rest, with its reasons."""
    info = members(_data(call).get("errors_info"))
    reasons = {why: times for why, times in info.items() if type(times) is int}
    if not reasons:
        return []
    told = ", ".join(f"{why} ({times})" for why, times in sorted(reasons.items()))
    first = next((one.task for one in reported if type(one.task) is str), "")
    return [
        Log(
            id=f"{first}:refused:{digest(call.t, told)}",
            time=_time(call),
            run=task_run(call.task or first),
            attributes={"clearml.events.refused": sum(reasons.values())},
            message=f"events refused: {told}"[:4096],
            severity=clearml_tasks.WARN,
            event_name="clearml.events.refused",
        )
    ]
