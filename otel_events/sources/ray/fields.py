"""Ids, times, texts and runs of Ray's events: base64 -> hex, RFC 3339 -> ns, entrypoint -> name. Pure functions."""

from __future__ import annotations

import binascii
import re
import shlex
from calendar import timegm
from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from time import strptime
from zlib import crc32

import msgspec

from otel_events.core import redact
from otel_events.model.errors import DecodeError
from otel_events.model.event import Error, Run, Scalar
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
"""A placement group that there is not, as it is sent."""

LONGEST = 32 * 1024
"""Characters of one text: longer error messages are cut in the middle."""
NAME_LENGTH = 128
MANY = 32
"""Entries of a user's own mapping (metadata, profile events) that become attributes."""

Attributes = dict[str, Scalar]

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z")
_ANSI = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]")
_CLASS = re.compile(r"[A-Za-z_][\w.]*(?=:|$)")
_NOT_SET = re.compile("f*")
_SETTING = re.compile(r"\w+=")
"""NAME=value before a command."""
_SCRIPTS = (".py", ".sh")


def wrong(told: str) -> DecodeError:
    return DecodeError(f"not an event of Ray's export: {told}; see docs/sources.md for what is read")


@lru_cache(maxsize=4096)
def hexadecimal(base64: str) -> str:
    """An id in lower-case hex; "" for none. DecodeError for what is no base64."""
    try:
        return binascii.a2b_base64(base64, strict_mode=True).hex() if base64 else ""
    except (binascii.Error, ValueError) as error:
        raise wrong(f"{base64[:80]!r} is no id in base64 ({error})") from error


def is_set(identifier: str) -> bool:
    """Whether a hex id is one: Ray's nil ids are all f."""
    return _NOT_SET.fullmatch(identifier) is None


@lru_cache(maxsize=1024)
def _second(text: str) -> int:
    seconds = timegm(strptime(text, "%Y-%m-%dT%H:%M:%S"))
    if seconds < 1:
        raise ValueError("before 1970")
    return seconds * 1_000_000_000


def nanoseconds(text: str) -> int:
    """Nanoseconds since the epoch of an RFC 3339 time in UTC, as protobuf prints it. DecodeError for another."""
    if len(text) == 30 and text[19] == "." and text[29] == "Z" and text[20:29].isdecimal():
        whole, fraction = text[:19], text[20:29]
    elif found := _TIME.fullmatch(text):
        whole, fraction = found[1], (found[2] or "").ljust(9, "0")
    else:
        raise wrong(f"{text[:80]!r} is no time in UTC")
    try:
        return _second(whole) + int(fraction)
    except ValueError as error:
        raise wrong(f"{text[:80]!r} is no time in UTC ({error})") from error


def number(value: int | str) -> int:
    """An int64, which protobuf prints as a string; 0 for what is none."""
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
    """(class, line) of the exception that a Python traceback ends in: what stands first behind its last frame."""
    lines = text.rstrip().split("\n")
    last = max((index for index, line in enumerate(lines) if line.startswith("  ")), default=-1)
    for line in (*lines[last + 1 : last + 2], lines[-1]):
        if found := _CLASS.match(line):
            return found[0], line
    return "", lines[-1]


def json_text(value: Mapping[str, float | str]) -> str:
    """A small mapping (resources, labels) as JSON, keys in order."""
    return _json_text(tuple(value.items()))


@lru_cache(maxsize=1024)
def _json_text(items: tuple[tuple[str, float | str], ...]) -> str:
    return msgspec.json.encode(dict(items), order="sorted").decode()[:LONGEST]


@lru_cache(maxsize=4096)
def harmless(text: Scalar | None) -> bool:
    """Whether a text can be no secret. Most are few and come again: names of functions, files of workers."""
    return not isinstance(text, str) or not redact.has_clue(text)


@lru_cache(maxsize=1024)
def entrypoint_name(entrypoint: str) -> str:
    """What is run, without arguments and folders: few values, and none of a user's secrets. "" for no entrypoint."""
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


def function(of: Descriptor | None) -> tuple[str, str]:
    """(name of the definition: Class.method or function; the same with its module)."""
    if of is None:
        return "", ""
    found = of.python_function_descriptor or of.java_function_descriptor or of.cpp_function_descriptor
    return _function(found.module_name, found.class_name, found.function_name) if found else ("", "")


@lru_cache(maxsize=4096)
def _function(module: str, of: str, function: str) -> tuple[str, str]:
    name = ".".join(part for part in (of, function) if part)[:NAME_LENGTH]
    return name, f"{module}.{name}" if module else name


def task_run(session: str, task: str, attempt: int, name: str = "", parent: str = "") -> Run:
    """The run that a task id (hex) names: a driver task is its job; any other task a run below it."""
    job = task[-JOB_DIGITS:]
    if task.startswith(DRIVER):
        return job_run(session, job)
    if parent.startswith(DRIVER) or not is_set(parent):
        parent = ""
    return Run(
        SOURCE, "task", task, name, job, parent or None, attempt + 1, session, parent_kind="task" if parent else ""
    )


def job_run(session: str, job: str, name: str = "") -> Run:
    return Run(SOURCE, "workflow", job, name, job, None, 1, session, name)


def actor_run(session: str, actor: str, name: str = "") -> Run:
    """An actor, under the task that created it. Its lives are its attempts: Ray does not number them."""
    return Run(SOURCE, "node", actor, name, actor[-JOB_DIGITS:], CREATION + actor, 0, session, parent_kind="task")


def node_run(session: str, node: str) -> Run:
    return Run(SOURCE, "node", node, NODE_NAME, node, None, 1, session)


def no_run(session: str) -> Run:
    """For what belongs to none of these: a fact of the session."""
    return Run(SOURCE, "task", "", "", session, None, 1, session)


_told = msgspec.msgpack.Encoder().encode


def digest(attributes: Attributes, error: Error | None = None) -> str:
    """Tells two tellings of one transition apart where they say more than the transition; "" where they do not."""
    if not attributes and error is None:
        return ""
    return f".{crc32(_told((attributes, error))):08x}"


def put(attributes: Attributes, key: str, value: Scalar) -> None:
    """Take a value that is set: Ray prints zero values of what is not."""
    if value:
        attributes[key] = value
