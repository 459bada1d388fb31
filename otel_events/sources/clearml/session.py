"""Offline sessions of ClearML's SDK: a zip or a folder with task.json, metrics.jsonl and log.jsonl, read as records.

Nothing is unpacked to disk, and no name inside a zip is ever used as a path: three members are read by their exact
names, a line at a time, within LARGEST. A line is one flush: a JSON list of events, which all belong to the session's
task, those of models too. A session does not say how its task ended.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import IO, Any, NamedTuple

import msgspec

from otel_events.model.errors import ConfigError

TASK, FLUSHES = "task.json", ("log.jsonl", "metrics.jsonl")
ENDPOINT, ADD_BATCH = "offline.session", "events.add_batch"
LONGEST_LINE = 16 * 1024 * 1024
LARGEST = 1024 * 1024 * 1024
"""Bytes of all three files, unpacked; the rest is refused."""
MOST_MEMBERS, LONGEST_DIRECTORY = 65_534, 64 * 1024 * 1024
"""Files in a zip, and bytes of its directory: Python reads the directory as a whole."""
HEAD = 4096

_END = b"PK\x05\x06"


class Part(NamedTuple):
    """A record (``reason`` is ""), or the beginning of what cannot be one, with the reason and its length as far as it
    was read."""

    where: str
    body: bytes
    reason: str = ""
    length: int = 0


class _Times(msgspec.Struct):
    timestamp: float | None = None


class _Task(msgspec.Struct):
    id: str = ""


_times = msgspec.json.Decoder(list[_Times])
_task = msgspec.json.Decoder(_Task)


def is_session(path: str) -> bool:
    """Whether a path is a zip file, or a folder with one of a session's files in it."""
    if os.path.isdir(path):
        return any(os.path.isfile(os.path.join(path, name)) for name in (TASK, *FLUSHES))
    return path.endswith(".zip") and os.path.isfile(path)


def records(path: str) -> Iterator[Part]:
    """The records of a session: the task first, then its flushes.

    Args:
        path: A zip file, or a folder.

    Raises:
        ConfigError: The path holds no session, or cannot be read.
    """
    with ExitStack() as stack:
        files = _Folder(path) if os.path.isdir(path) else _Zip(path, stack)
        if not any(files.has(name) for name in (TASK, *FLUSHES)):
            raise ConfigError(f"{path}: no {TASK}, {' or '.join(FLUSHES)} in it: name the zip or folder of a session")
        yield from _session(path, files)


class _Folder:
    def __init__(self, path: str) -> None:
        self._path = path

    def has(self, name: str) -> bool:
        return os.path.isfile(os.path.join(self._path, name))

    def open(self, name: str) -> IO[bytes]:
        return open(os.path.join(self._path, name), "rb")

    def written(self, name: str) -> float:
        return os.path.getmtime(os.path.join(self._path, name))


class _Zip:
    def __init__(self, path: str, stack: ExitStack) -> None:
        try:
            _check_directory(path)
            self._zip = stack.enter_context(zipfile.ZipFile(path))
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise ConfigError(f"{path} cannot be read ({error}): name the zip of a ClearML offline session") from error

    def has(self, name: str) -> bool:
        return name in self._zip.NameToInfo

    def open(self, name: str) -> IO[bytes]:
        return self._zip.open(name)

    def written(self, name: str) -> float:
        year, month, *rest = self._zip.getinfo(name).date_time
        return datetime(year, max(1, month), max(1, rest[0]), tzinfo=UTC).timestamp()


def _check_directory(path: str) -> None:
    """ValueError for a zip whose directory alone would fill the memory."""
    with open(path, "rb") as file:
        file.seek(max(0, os.path.getsize(path) - 65_557))
        tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or len(tail) < at + 22:
        raise ValueError("not a zip file")
    members = int.from_bytes(tail[at + 10 : at + 12], "little")
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    if members > MOST_MEMBERS or size > LONGEST_DIRECTORY:
        raise ValueError(f"more than {MOST_MEMBERS:,} files in it")


def _session(path: str, files: _Folder | _Zip) -> Iterator[Part]:
    start = _start(files)
    owner = ""
    if files.has(TASK):
        task = next(iter(_lines(path, files, TASK, whole=True)), Part(path, b"{}"))
        owner = _id(task.body)
        yield _record(task, ENDPOINT, start, owner, b"%s")
    for name in FLUSHES:
        if files.has(name):
            for line in _lines(path, files, name):
                yield _record(line, ADD_BATCH, start, owner, b'{"events":%s}')


def _record(part: Part, endpoint: str, start: float, owner: str, body: bytes) -> Part:
    if part.reason:
        return part
    head = msgspec.json.encode({"t": start, "endpoint": endpoint, "task": owner})
    return part._replace(body=head[:-1] + b',"body":' + body % part.body + b"}")


def _id(task: bytes) -> str:
    try:
        return _task.decode(task).id
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""


def _start(files: _Folder | _Zip) -> float:
    """Epoch seconds of the earliest event; where no event has a time, when the task's file was written."""
    first: float = 0
    for name in FLUSHES:
        for line in _lines("", files, name) if files.has(name) else ():
            if line.reason:
                break
            try:
                times = [
                    event.timestamp for event in _times.decode(line.body) if event.timestamp and event.timestamp > 0
                ]
            except (msgspec.MsgspecError, UnicodeError, RecursionError):
                continue  # refused when it is decoded
            first = min([first or times[0], *times]) if times else first
    return first / 1000 or files.written(next(name for name in (TASK, *FLUSHES) if files.has(name)))


def _lines(path: str, files: _Folder | _Zip, name: str, whole: bool = False) -> Iterator[Part]:
    """Lines of one file (``whole``: all of it as one), each within its limit, all within LARGEST."""
    number, read, where = 0, 0, f"{path}!{name}"
    try:
        with files.open(name) as stream:
            while line := _read(stream, whole):
                number, read = number + 1, read + len(line)
                if len(line) > LONGEST_LINE or read > LARGEST:
                    yield Part(f"{where}:{number}", line[:HEAD], _too_long(read), len(line))
                    return
                if text := line.strip():
                    yield Part(f"{where}:{number}", text)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:
        yield Part(f"{where}:{number + 1}", b"", f"cannot be read on ({error}): make the session's zip anew")


def _read(stream: Any, whole: bool) -> bytes:
    read: bytes = stream.read(LONGEST_LINE + 1) if whole else stream.readline(LONGEST_LINE + 1)
    return read


def _too_long(read: int) -> str:
    if read > LARGEST:
        return f"more than {LARGEST:,} bytes when unpacked: the rest is left out"
    return f"a line of more than {LONGEST_LINE:,} bytes: it and what follows is left out"
