"""Records out of files, folders, ``.gz`` and standard input, in flat memory: a bad or huge one costs itself only.

What a file holds is told by its name: ``.pb`` one protobuf record, ``.json`` one JSON record (or, where its first line
is a whole object and more follows, a record a line), all other text a record a line. ``.gz`` at the end is one layer of
gzip around any of these. Blank lines are no records; a byte order mark and CR LF are taken off.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

import msgspec

from otel_events.model.record import ParsedRecord as ParsedRecord
from otel_events.model.record import Record as Record
from otel_events.model.record import Refused as Refused

MAX_RECORD_BYTES = 16 * 1024 * 1024
HEAD_BYTES = 4096
"""How much of a refused record is kept."""
STDIN = "-"

_BUFFER = 256 * 1024
_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n\f\v"
_WHOLE = (".json", ".pb")
_LINES = (".jsonl", ".ndjson", ".jsonlines", ".txt", ".log")
_BINARY = frozenset(range(32)) - frozenset(b"\t\n\v\f\r\x1b")
"""Bytes that no text has: in a file whose name says nothing they mean that it has no lines."""


def read(
    paths: Sequence[str], max_record_bytes: int = MAX_RECORD_BYTES, stdin: BinaryIO | None = None
) -> Iterator[Record | Refused]:
    """The records of files, of folders (recursive, sorted by name, hidden ones left out) and of standard input (``-``).

    Raises nothing for what it reads: what cannot be read comes as Refused, with what to do about it.
    """
    for path in paths:
        if path == STDIN:
            yield from lines(stdin or sys.stdin.buffer, "", "stdin", max_record_bytes)
        elif os.path.isdir(path):
            yield from _folder(path, max_record_bytes)
        else:
            yield from _file(path, max_record_bytes)


def _folder(path: str, limit: int) -> Iterator[Record | Refused]:
    problems: list[OSError] = []
    empty = True
    for folder, folders, names in os.walk(path, onerror=problems.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not name.startswith(".")):
            empty = False
            yield from _regular(os.path.join(folder, name), limit)
    for problem in problems:
        yield _unreadable(shown(problem.filename), problem)
    if empty and not problems:
        yield Refused(shown(path), "no files in this folder (hidden ones are left out): name another", b"", 0)


def _regular(path: str, limit: int) -> Iterator[Record | Refused]:
    """A file found in a folder: pipes and devices there would be waited for without end."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError as error:
        yield _unreadable(shown(path), error)
        return
    if regular:
        yield from _file(path, limit)
    else:
        yield Refused(shown(path), "a pipe, socket or device: name it on its own to read it", b"", 0)


def shown(path: str) -> str:
    """A path as text that can be written anywhere: bytes that are no UTF-8 as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unreadable(where: str, error: Exception, length: int = 0) -> Refused:
    if isinstance(error, zlib.error | EOFError | gzip.BadGzipFile):
        return Refused(where, f"not whole gzip from here on ({error}): fetch the file again, or drop .gz", b"", length)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else error
    return Refused(where, f"cannot be read ({reason}): check the path and its rights", b"", length)


def _file(path: str, limit: int) -> Iterator[Record | Refused]:
    where = shown(path)
    name = os.path.basename(where)
    packed = name.endswith(".gz")
    try:
        raw: Any = gzip.GzipFile(path) if packed else io.FileIO(path)
        with io.BufferedReader(raw, _BUFFER) as stream:
            yield from _records(stream, name.removesuffix(".gz"), where, limit)
    except (OSError, EOFError, zlib.error) as error:
        yield _unreadable(where, error)


def _records(stream: io.BufferedReader, hint: str, where: str, limit: int) -> Iterator[Record | Refused]:
    ending = os.path.splitext(hint)[1].lower()
    if ending in _WHOLE:
        yield from _whole(stream, hint, where, limit, may_be_lines=ending == ".json")
    elif ending not in _LINES and not _BINARY.isdisjoint(stream.peek(HEAD_BYTES)[:HEAD_BYTES]):
        head = stream.read(HEAD_BYTES)
        reason = "binary, and its name does not say of what: end it in .pb if it is one protobuf record"
        yield Refused(where, reason, head, len(head))
    else:
        yield from lines(stream, hint, where, limit)


def _whole(
    stream: io.BufferedReader, hint: str, where: str, limit: int, may_be_lines: bool
) -> Iterator[Record | Refused]:
    first = stream.readline(limit + 1)
    rest = b"" if len(first) > limit else stream.read(limit + 1 - len(first))
    if may_be_lines and first.endswith(b"\n") and rest.strip(_BLANK) and _is_object(first):
        joined = _Joined(first + rest, stream)
        yield from lines(joined, hint, where, limit)
        return
    body = first + rest
    if len(body) > limit:
        yield _too_long(where, "record", limit, body[:HEAD_BYTES], _length(stream, len(body)))
    else:
        yield Record(body.removeprefix(_BOM), hint, where)


def _is_object(line: bytes) -> bool:
    text = line.removeprefix(_BOM).strip(_BLANK)
    if not text.startswith(b"{"):
        return False
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


class _Joined:
    """What was read ahead, then the rest of the stream."""

    def __init__(self, ahead: bytes, rest: BinaryIO) -> None:
        self._ahead, self._rest = io.BytesIO(ahead), rest

    def readline(self, limit: int = -1, /) -> bytes:
        line = self._ahead.readline(limit)
        if line.endswith(b"\n") or len(line) == limit:
            return line
        return line + self._rest.readline(limit - len(line))


def _length(stream: io.BufferedReader, read: int) -> int:
    """Bytes of a plain file; of anything else, what has been read."""
    try:
        return max(read, os.fstat(stream.fileno()).st_size) if isinstance(stream.raw, io.FileIO) else read
    except OSError:
        return read


def lines(stream: BinaryIO | _Joined, hint: str, where: str, limit: int) -> Iterator[Record | Refused]:
    """A record a line, named ``where:line``; a line over ``limit`` bytes is refused, and skipped in small pieces."""
    number = 0
    try:
        while line := stream.readline(limit + 2):
            number += 1
            whole = line.endswith(b"\n")
            body = line.rstrip(b"\r\n").removeprefix(_BOM if number == 1 else b"")
            if len(body) > limit or (not whole and len(line) > limit + 1):
                length = len(body) if whole else len(line) + _skip_line(stream)
                yield _too_long(f"{where}:{number}", "line", limit, body[:HEAD_BYTES], length)
            elif body.strip(_BLANK):
                yield Record(body, hint, f"{where}:{number}")
    except (OSError, EOFError, zlib.error) as error:
        yield _unreadable(f"{where}:{number + 1}", error)


def _skip_line(stream: BinaryIO | _Joined) -> int:
    length = 0
    while piece := stream.readline(_BUFFER):
        length += len(piece)
        if piece.endswith(b"\n"):
            return length - 1
    return length


def _too_long(where: str, what: str, limit: int, head: bytes, length: int) -> Refused:
    reason = f"a {what} of more than {limit:,} bytes: split it, or leave large values out where it is made"
    return Refused(where, reason, head, length)
