"""Ids, times, texts and runs of Ray's events: base64 to hex, RFC 3339 to nanoseconds, entrypoint to name."""

from __future__ import annotations

import binascii
import re
import shlex
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

import msgspec

from otel_events.model.errors import DecodeError
from otel_events.model.event import Error, Run, Scalar
from otel_events.model.times import from_rfc3339
from otel_events.sources.ray import NODE_NAME
from otel_events.sources.ray.shapes import Descriptor

SOURCE = "ray"
JOB_DIGITS = 8
"""Last digits of a task's and an actor's id: the id of the job."""
CREATION = "f" * 16
"""First digits of the id of an actor's creation task; the actor's id follows."""
DRIVER = "f" * 40
"""First digits of the id of a driver task; the job's id follows."""
NIL_GROUP = "////////////////////////"
"""The nil id of a placement group, as it is sent for a task in none."""

LONGEST = 32 * 1024
"""Characters of one text: longer error messages are cut in the middle."""
NAME_LENGTH = 128
MANY = 32
"""Most entries of a user's own mapping (metadata, profile events) that become attributes."""

Attributes = dict[str, Scalar]

_ANSI = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")
_CLASS = re.compile(r"[A-Za-z_][\w.]*(?=:|$)")
_NOT_SET = re.compile("f*")
_SETTING = re.compile(r"\w+=")
"""``NAME=value`` before a command."""
_SCRIPTS = (".py", ".sh")


def wrong(problem: str) -> DecodeError:
    """The error for a record that is not Ray's: what is wrong with it, and where the shape is described."""
    return DecodeError(f"not an event of Ray's export: {problem}; see docs/sources.md for what is read")


@lru_cache(maxsize=4096)
def hexadecimal(base64: str) -> str:
    """An id in lower-case hex; "" for an empty one. DecodeError for a text that is no base64."""
    try:
        return binascii.a2b_base64(base64, strict_mode=True).hex() if base64 else ""
    except (binascii.Error, ValueError) as error:
        raise wrong(f"{base64[:80]!r} is no id in base64 ({error})") from error


def is_set(identifier: str) -> bool:
    """Whether a hex id names something: all digits of Ray's nil ids are f."""
    return _NOT_SET.fullmatch(identifier) is None


def nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time in UTC, as protobuf prints it. DecodeError for any other text."""
    try:
        if text[-1:] == "Z" and text[10] == "T":
            return from_rfc3339(text)
    except (ValueError, IndexError) as error:
        raise wrong(f"{text[:80]!r} is no time in UTC ({error})") from error
    raise wrong(f"{text[:80]!r} is no time in UTC")


def number(value: int | str) -> int:
    """An int64, which protobuf prints as a string; 0 for any other text."""
    try:
        return int(value)
    except ValueError:
        return 0


def plain(text: str) -> str:
    """A text without the colours of a terminal, cut in the middle where it is very long."""
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]}\n... {len(text) - LONGEST:,} characters ...\n{text[-half:]}"
    return text


def raised(text: str) -> tuple[str, str]:
    """(class, line) of the exception at the end of a Python traceback: the first line after its last frame, or the
    last line, where the message has several."""
    lines = text.rstrip().split("\n")
    last = max((index for index, line in enumerate(lines) if line.startswith("  ")), default=-1)
    for line in (*lines[last + 1 : last + 2], lines[-1]):
        if match := _CLASS.match(line):
            return match[0], line
    return "", lines[-1]


def json_text(value: Mapping[str, float | str]) -> str:
    """A small mapping (resources, labels) as JSON, keys in order."""
    return _json_text(tuple(value.items()))


@lru_cache(maxsize=1024)
def _json_text(items: tuple[tuple[str, float | str], ...]) -> str:
    return msgspec.json.encode(dict(items), order="sorted").decode()[:LONGEST]


@lru_cache(maxsize=1024)
def entrypoint_name(entrypoint: str) -> str:
    """The program that an entrypoint runs, without arguments and folders: a label needs few values, and arguments may
    hold secrets.

    >>> entrypoint_name("TOKEN=abc python -u /jobs/train.py --rate 0.1")
    'train.py'
    """
    try:
        words = shlex.split(entrypoint)
    except ValueError:  # an open quote
        words = entrypoint.split()
    words = [word for word in words if not _SETTING.match(word)]
    for word, following in pairwise([*words, ""]):
        if word.endswith(_SCRIPTS):
            return _base(word)[:NAME_LENGTH]
        if word == "-m" and following:
            return following[:NAME_LENGTH]
        if word == "-c":
            return f"{_base(words[0])} -c"[:NAME_LENGTH]
    return _base(words[0])[:NAME_LENGTH] if words else ""


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def function(descriptor: Descriptor | None) -> tuple[str, str]:
    """(name of the definition: Class.method or function; the same with its module)."""
    if descriptor is None:
        return "", ""
    python, java = descriptor.python_function_descriptor, descriptor.java_function_descriptor
    named = python or java or descriptor.cpp_function_descriptor
    return _function(named.module_name, named.class_name, named.function_name) if named else ("", "")


@lru_cache(maxsize=4096)
def _function(module: str, class_name: str, function: str) -> tuple[str, str]:
    name = ".".join(part for part in (class_name, function) if part)[:NAME_LENGTH]
    return name, f"{module}.{name}" if module else name


def task_run(session: str, task: str, attempt: int, name: str = "", parent: str = "") -> Run:
    """The run that a task id names: for a driver task its job, for any other task a run below the job.

    Args:
        session: Name of the session, which is the namespace of all its runs.
        task: Id of the task, in hex.
        attempt: Ray's number of the attempt, from 0.
        name: Name of the definition, if the event has it.
        parent: Id of the task that submitted this one, in hex; a driver is left out, because it is the root.
    """
    job = task[-JOB_DIGITS:]
    if task.startswith(DRIVER):
        return job_run(session, job)
    if parent.startswith(DRIVER) or not is_set(parent):
        parent = ""
    return Run(
        SOURCE, "task", task, name, job, parent or None, attempt + 1, session, parent_kind="task" if parent else ""
    )


def job_run(session: str, job: str, name: str = "") -> Run:
    """The run of a job, which is a root."""
    return Run(SOURCE, "workflow", job, name, job, None, 1, session, name)


def actor_run(session: str, actor: str, name: str = "") -> Run:
    """The run of an actor, below the task that created it. Its lives are its attempts; Ray does not number them, so the
    fold does."""
    return Run(SOURCE, "node", actor, name, actor[-JOB_DIGITS:], CREATION + actor, 0, session, parent_kind="task")


def node_run(session: str, node: str) -> Run:
    """The run of a node of the cluster, which is a root."""
    return Run(SOURCE, "node", node, NODE_NAME, node, None, 1, session)


def no_run(session: str) -> Run:
    """In place of a run for events that belong to none: they are of the whole session."""
    return Run(SOURCE, "task", "", "", session, None, 1, session)


_packed = msgspec.msgpack.Encoder().encode


def digest(attributes: Attributes, error: Error | None = None) -> str:
    """The end of the id of a transition. Two processes report the same transition, each with facts of its own: these
    are two events, told apart by a checksum of the facts. "" without facts: then the reports are the same event."""
    if not attributes and error is None:
        return ""
    return f".{crc32(_packed((attributes, error))):08x}"


def put(attributes: Attributes, key: str, value: Scalar) -> None:
    """Set an attribute, unless the value is a zero value: Ray prints those for fields that are not set."""
    if value:
        attributes[key] = value
