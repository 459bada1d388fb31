"""Profile events: what a worker spent its time on, and the only trace of a plain ``ray.cancel``."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from otel_events.core import redact
from otel_events.model.event import AnyEvent, Log, PhaseChange
from otel_events.sources.ray.batch import Batch
from otel_events.sources.ray.fields import CREATION, MANY, NAME_LENGTH, Attributes, harmless, nanoseconds, number
from otel_events.sources.ray.shapes import Profile, ProfileEntry, RayEvent
from otel_events.sources.ray.tasks import KNOWABLE

_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_EXECUTED = "task:execute"
_NAMED = "task::"
_NANO = 1_000_000_000


class _Extra(msgspec.Struct):
    """What is read of a profile event's extraData."""

    type: str = ""


_extra = msgspec.json.Decoder(_Extra)


def _exception(text: str) -> str:
    """The class of the exception that an extraData tells of, without its module; "" where it tells of none."""
    if '"type"' not in text:
        return ""
    try:
        found = _TYPE.search(_extra.decode(text).type)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return ""  # extraData is cut where it is long
    return found[1] if found else ""


def profile(raw: RayEvent, body: Profile, batch: Batch) -> list[AnyEvent]:
    """Once the task's function is left, the attempt is finalizing, or cancelled where it was left by KeyboardInterrupt:
    that is how ``ray.cancel`` ends a running task, which Ray calls FINISHED. All else is a log."""
    if body.profile_events is None:
        return []
    run = batch.run(raw, body.task_id, body.attempt_number)
    entries = body.profile_events.events
    attributes = _durations(entries)
    end, kind, name = _left(entries)
    if kind:
        attributes["ray.exception.type"] = kind
    made: AnyEvent
    if run.kind == "workflow" or end <= 0 or (run.attempt > 1 and run.id.startswith(CREATION)):
        told = ", ".join(dict.fromkeys(one.event_name[:NAME_LENGTH] for one in entries[:MANY]))
        time = nanoseconds(raw.timestamp)
        made = Log(id=raw.event_id, time=time, run=run, attributes=attributes, message=told, event_name=LOGGED)
        return [made] if harmless(told) else [redact.event(made)]
    attributes[KNOWABLE] = True
    if name:
        attributes["ray.task.name"] = name
    phase, native = ("cancelled", kind) if kind == "KeyboardInterrupt" else ("finalizing", _EXECUTED)
    made = PhaseChange(id=raw.event_id, time=end, run=run, attributes=attributes, phase=phase, native=native)
    return [made] if harmless(name) else [redact.event(made)]


LOGGED = "ray.task.profile"


def _left(entries: list[ProfileEntry]) -> tuple[int, str, str]:
    """(ns when the task's function was left, by which exception, the task's name); 0 and "" where nothing tells."""
    end, kind, name = 0, "", ""
    for one in entries:
        named = one.event_name.startswith(_NAMED)
        if named or one.event_name == _EXECUTED:
            end = max(end, number(one.end_time))
            found = _exception(one.extra_data)
            if found and kind != "KeyboardInterrupt":
                kind = found if found == "KeyboardInterrupt" else kind or found
            if named:
                name = one.event_name[len(_NAMED) :][:NAME_LENGTH]
    return end, kind, name


def _durations(entries: list[ProfileEntry]) -> Attributes:
    """Seconds by name of the profile event, summed; the function's own under one name, whatever it is called."""
    spent: dict[str, int] = {}
    for one in entries:
        key = _key(one.event_name)
        if key in spent or len(spent) < MANY:
            spent[key] = spent.get(key, 0) + max(0, number(one.end_time) - number(one.start_time))
    return {key: nanos / _NANO for key, nanos in spent.items()}


@lru_cache(maxsize=1024)
def _key(name: str) -> str:
    short = "task" if name.startswith(_NAMED) else name.removeprefix("task:")[:NAME_LENGTH]
    return f"ray.profile.{short}.duration"
