"""What all records of ClearML need: times, ids, texts, the run of a task."""

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
"""Characters of a text in an event; log lines and plots may be longer (events.py)."""
_END_OF_TIME = 2**63


class Call(msgspec.Struct, frozen=True):
    """One call that changed something, or one flush of an offline session."""

    endpoint: str
    time: int
    """When it was received (ns), for what has no time of its own."""
    body: dict[str, Any]
    data: dict[str, Any]
    """``data`` of the answer."""
    task: str = ""
    """The task of the offline session that this is part of, or ""."""


def wrong(what: str) -> DecodeError:
    """The error for a record that is not ClearML's; ``what`` is wrong with it."""
    return DecodeError(
        f"not a ClearML record: {what}; give one HTTP call with `t`, `endpoint`, `body` and `resp`, as the gateway "
        "records it, or an offline session (docs/clearml.md)"
    )


def digest(*parts: object) -> str:
    """A part of event ids: 16 hex digits of everything that identifies the event, so that it has the same id when it
    comes again."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=8).hexdigest()


def nanoseconds(milliseconds: object) -> int:
    """An event's ``timestamp`` in nanoseconds; 0 where it is no time after 1970.

    >>> nanoseconds(1_700_000_000_000), nanoseconds("now")
    (1700000000000000000, 0)
    """
    if type(milliseconds) is int:
        time = milliseconds * 1_000_000
    elif type(milliseconds) is float and 0 < milliseconds < _END_OF_TIME:
        time = int(milliseconds * 1_000) * 1_000
    else:
        return 0
    return time if 0 < time < _END_OF_TIME else 0


@lru_cache(maxsize=1024)
def iso(text: str) -> int:
    """Nanoseconds of an ISO 8601 time, UTC where it names no zone; 0 where it is no time after 1970.

    >>> iso("2026-01-01T00:00:00Z")
    1767225600000000000
    """
    try:
        moment = datetime.fromisoformat(text[:40])
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        time = int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000
    except (ValueError, OverflowError):
        return 0
    return time if 0 < time < _END_OF_TIME else 0


def string(value: object, limit: int = LONGEST) -> str:
    """The text, cut to ``limit`` characters; "" for anything else."""
    return value[:limit] if type(value) is str else ""


def members(value: object) -> dict[str, Any]:
    """The object; {} for anything else."""
    return value if type(value) is dict else {}


def inside(path: str, session: str) -> str:
    """A path of the machine where an offline session was recorded, relative to the folder of that session."""
    return path.partition(f"/{session}/")[2] or path if session else path


def task_run(task: str, name: str = "") -> Run:
    """The run of a task, which is a root of its own: ``parent`` in ClearML groups tasks and is no call tree, so it
    becomes a link. ClearML does not number attempts."""
    return Run(SOURCE, "task", task, name, task, attempt=0)


def model_run(model: str) -> Run:
    """The run for events of a model alone: it has no id, and the model is its root."""
    return Run(SOURCE, "task", "", "", model, attempt=0)


Events = list[AnyEvent]
