"""What ClearML's records share: times, ids, texts, the run of a task."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import msgspec

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, Run

SOURCE = "clearml"
LONGEST = 4096
"""Characters of a text that is put out; of a log line more (clearml_events)."""
_END_OF_TIME = 2**63


class Call(msgspec.Struct, frozen=True):
    """One call that changed something, or one flush of an offline session."""

    endpoint: str
    time: int
    """When it was received (ns); of what carries no time of its own."""
    body: dict[str, Any]
    data: dict[str, Any]
    """``data`` of the answer."""
    task: str = ""
    """The task whose offline session this is of."""


def wrong(what: str) -> DecodeError:
    """The error for a record that is not ClearML's: what, where, and what to do."""
    return DecodeError(
        f"not a ClearML record: {what}; give one HTTP call with `t`, `endpoint`, `body` and `resp`, as the gateway "
        "records it, or an offline session (docs/clearml.md)"
    )


def digest(*parts: object) -> str:
    """A part of event ids: 16 hex digits of what makes the event the same when it comes again."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=8).hexdigest()


def nanoseconds(milliseconds: object) -> int:
    """Of an event's ``timestamp``; 0 where it is no time after 1970."""
    if type(milliseconds) is int:
        time = milliseconds * 1_000_000
    elif type(milliseconds) is float and 0 < milliseconds < _END_OF_TIME:
        time = int(milliseconds * 1_000) * 1_000
    else:
        return 0
    return time if 0 < time < _END_OF_TIME else 0


@lru_cache(maxsize=1024)
def iso(text: str) -> int:
    """Nanoseconds of an ISO 8601 time, UTC where it names no zone; 0 where it is none after 1970."""
    try:
        moment = datetime.fromisoformat(text[:40])
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        time = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000
    except (ValueError, OverflowError):
        return 0
    return time if 0 < time < _END_OF_TIME else 0


def string(value: object, limit: int = LONGEST) -> str:
    """The text, cut; "" for anything else."""
    return value[:limit] if type(value) is str else ""


def members(value: object) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if type(value) is dict else {}


def inside(path: str, session: str) -> str:
    """A path of the machine where an offline session was made, relative to the session's folder."""
    return path.partition(f"/{session}/")[2] or path if session else path


def task_run(task: str, name: str = "") -> Run:
    """A task is a run and a root of its own: ``parent`` in ClearML groups tasks and is no call tree (it becomes a
    link). ClearML numbers no attempts."""
    return Run(SOURCE, "task", task, name, task, attempt=0)


def model_run(model: str) -> Run:
    """No run: what is told of a model alone, under a root of its own."""
    return Run(SOURCE, "task", "", "", model, attempt=0)


Events = list[AnyEvent]
