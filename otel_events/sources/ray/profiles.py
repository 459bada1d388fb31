"""Profile events: what a worker spent its time on, and the only sign of a plain ``ray.cancel``."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from otel_events.model.event import AnyEvent, Log, PhaseChange
from otel_events.model.times import SECOND
from otel_events.sources.ray.batch import Batch
from otel_events.sources.ray.fields import CREATION, MANY, NAME_LENGTH, Attributes, nanoseconds, number
from otel_events.sources.ray.shapes import Profile, ProfileEntry, RayEvent
from otel_events.sources.ray.tasks import KNOWABLE

_TYPE = re.compile(r"<class '(?:\w+\.)*(\w+)'>")
_EXECUTED = "task:execute"
"""Name of the profile event of the task's function, when the task has no name."""
_NAMED = "task::"
"""The same with a name, which follows."""


class _Extra(msgspec.Struct):
    """The part of a profile event's extraData that is read."""

    type: str = ""


_extra = msgspec.json.Decoder(_Extra)


def _exception(text: str) -> str:
    """The class of the exception in an extraData, without its module; "" where there is none."""
    if '"type"' not in text:
        return ""
    try:
        match = _TYPE.search(_extra.decode(text).type)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return ""  # Ray cuts a long extraData, which is then no JSON any more
    return match[1] if match else ""


def profile(raw: RayEvent, body: Profile, batch: Batch) -> list[AnyEvent]:
    """The event of a profile.

    When the task's function has returned, the attempt is finalizing; when it was left by KeyboardInterrupt, the attempt
    is cancelled: that is how ``ray.cancel`` ends a running task, whose state Ray then calls FINISHED. Every other
    profile becomes a log: of a driver, without an end, or of a later life of an actor, whose creation has no attempt
    of its own.
    """
    if body.profile_events is None:
        return []
    run = batch.run(raw, body.task_id, body.attempt_number)
    entries = body.profile_events.events
    attributes = _durations(entries)
    end, kind, name = _left(entries)
    if kind:
        attributes["ray.exception.type"] = kind
    if run.kind == "workflow" or end <= 0 or (run.attempt > 1 and run.id.startswith(CREATION)):
        names = ", ".join(dict.fromkeys(entry.event_name[:NAME_LENGTH] for entry in entries[:MANY]))
        time = nanoseconds(raw.timestamp)
        return [Log(id=raw.event_id, time=time, run=run, attributes=attributes, message=names, event_name=LOGGED)]
    attributes[KNOWABLE] = True
    if name:
        attributes["ray.task.name"] = name
    phase, native = ("cancelled", kind) if kind == "KeyboardInterrupt" else ("finalizing", _EXECUTED)
    return [PhaseChange(id=raw.event_id, time=end, run=run, attributes=attributes, phase=phase, native=native)]


LOGGED = "ray.task.profile"
"""event_name of a profile that is no phase change."""


def _left(entries: list[ProfileEntry]) -> tuple[int, str, str]:
    """(ns when the task's function ended, class of the exception that ended it, the task's name); 0 and "" for what
    no entry says. Of several exceptions KeyboardInterrupt wins, else the first."""
    end, kind, name = 0, "", ""
    for entry in entries:
        named = entry.event_name.startswith(_NAMED)
        if named or entry.event_name == _EXECUTED:
            end = max(end, number(entry.end_time))
            exception = _exception(entry.extra_data)
            if exception and kind != "KeyboardInterrupt":
                kind = exception if exception == "KeyboardInterrupt" else kind or exception
            if named:
                name = entry.event_name[len(_NAMED) :][:NAME_LENGTH]
    return end, kind, name


def _durations(entries: list[ProfileEntry]) -> Attributes:
    """Seconds by attribute, summed over the entries of that name; the task's function has the same attribute in every
    task."""
    spent: dict[str, int] = {}
    for entry in entries:
        key = _key(entry.event_name)
        if key in spent or len(spent) < MANY:
            spent[key] = spent.get(key, 0) + max(0, number(entry.end_time) - number(entry.start_time))
    return {key: nanos / SECOND for key, nanos in spent.items()}


@lru_cache(maxsize=1024)
def _key(name: str) -> str:
    short = "task" if name.startswith(_NAMED) else name.removeprefix("task:")[:NAME_LENGTH]
    return f"ray.profile.{short}.duration"
