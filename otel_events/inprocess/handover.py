"""Hands events to the process that sends, through a folder beside the journal that its user alone can read.

    JOURNAL.children/
      owner       locked for life by the process that sends (Owner)
      door        locked while events are written; not empty: the owner has ended
      *.events    of one process each: 4 bytes of length, an event as msgpack, and so on

A child only appends to its file: what it wrote survives when it is killed, it needs no connection, and the metrics of
all processes are counted in one place. The owner reads the files a few times a second, and removes that of a process
that has ended, once its events are in the journal.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from otel_events.inprocess.faults import fault
from otel_events.journal.pack import pack, unpack
from otel_events.model.event import AnyEvent

READ = 4 << 20
"""Bytes that are read of one file at a time."""
LARGEST = 64 << 20
"""Bytes of one event; a longer one is not written."""
FULL = 256 << 20
"""Bytes of one file that may wait to be read; past it, events of its process are dropped and counted."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(AnyEvent).decode
_size = struct.Struct("<I")

Take = Callable[[Sequence[AnyEvent]], object]


class GoneError(OSError):
    """The owner of the folder has ended."""


def children_of(journal: Path) -> Path:
    """The folder that goes with a journal."""
    return journal.with_name(journal.name + ".children")


def encoded(event: AnyEvent) -> bytes:
    """The event as msgpack; values that msgpack cannot hold are converted as the journal converts them."""
    try:
        return _encode(event)
    except (ValueError, OverflowError, TypeError):
        return _encode(unpack(event.run, pack(event)))


class Owner:
    """The reading side, in the process that sends."""

    def __init__(self, folder: Path) -> None:
        """
        Args:
            folder: Created where it does not exist.

        Raises:
            BlockingIOError: Another process owns the folder.
            OSError: It cannot be used.
        """
        self._folder = folder
        self._read: dict[str, int] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._owner, self._door = _opened(folder / "owner"), _opened(folder / "door")
        try:
            fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.let_go()
            raise
        with _locked(self._door, fcntl.LOCK_EX):
            os.ftruncate(self._door, 0)

    def collect(self, take: Take) -> None:
        """Pass new events to ``take``. Raises what that raises; the same events are passed again then."""
        for entry in sorted(os.listdir(self._folder)):
            if entry.endswith(".events"):
                self._collect_file(entry, take)

    def _collect_file(self, name: str, take: Take) -> None:
        with open(self._folder / name, "rb") as file:
            ended = _try_lock(file.fileno())  # before the file is read to its end: nothing can be appended after that
            while True:
                file.seek(at := self._read.get(name, 0))
                data = file.read(READ)
                events, used = _parsed(data)
                if not used and len(data) == READ:
                    file.seek(at)
                    events, used = _parsed(file.read(LARGEST + _size.size))
                if not used:
                    break
                if events:
                    take(events)
                self._read[name] = at + used
        if ended:  # what is left is part of an event that was not written to its end
            (self._folder / name).unlink(missing_ok=True)
            self._read.pop(name, None)

    def close(self, take: Take) -> None:
        """Pass the rest to ``take``, and close the door: later writers find the owner gone."""
        with _locked(self._door, fcntl.LOCK_EX):
            try:
                self.collect(take)
            finally:
                os.pwrite(self._door, b"closed", 0)
        self.let_go()

    def let_go(self) -> None:
        """Close the files. A forked child does this with those of its parent."""
        for file in (self._owner, self._door):
            if file >= 0:
                os.close(file)
        self._owner = self._door = -1


def _parsed(data: bytes) -> tuple[list[AnyEvent], int]:
    """(events, bytes that they take) of the whole frames at the start. Frames that are no events are skipped."""
    events: list[AnyEvent] = []
    at = 0
    while at + _size.size <= len(data):
        (size,) = _size.unpack_from(data, at)
        end = at + _size.size + size
        if end > len(data):
            break
        try:
            events.append(_decode(data[at + _size.size : end]))
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            fault("an event of a child process", error)
        at = end
    return events, at


class Writer:
    """The writing side, of one process. Its methods raise GoneError where there is no owner, and OSError where the
    folder cannot be used."""

    def __init__(self, folder: Path, name: str) -> None:
        try:
            self._owner, self._door = _existing(folder / "owner"), _existing(folder / "door")
        except FileNotFoundError as error:
            raise GoneError(f"{folder} is not there") from error
        self._path = folder / f"{name}.events"
        self._file = -1

    def write(self, events: Sequence[AnyEvent]) -> int:
        """Append events for the owner.

        Returns:
            The number of events that were dropped, for want of room.
        """
        data = b"".join([_size.pack(len(frame)) + frame for frame in map(encoded, events) if len(frame) <= LARGEST])
        with _locked(self._door, fcntl.LOCK_SH):
            if os.fstat(self._door).st_size or _try_lock(self._owner, fcntl.LOCK_SH):
                raise GoneError(f"the process that reads {self._path.parent} has ended")
            while self._file < 0:
                self._open()
            if os.fstat(self._file).st_size > FULL:
                return len(events)
            _write_all(self._file, data)
        return 0

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        file = os.open(self._path, flags, 0o600)
        fcntl.flock(file, fcntl.LOCK_SH)  # says that this process runs
        try:
            if os.stat(self._path).st_ino == os.fstat(file).st_ino:  # else the owner removed it before it was locked
                self._file = file
                return
        except FileNotFoundError:
            pass
        os.close(file)

    def let_go(self) -> None:
        """Close the files: this process writes nothing more."""
        for file in (self._owner, self._door, self._file):
            if file >= 0:
                os.close(file)
        self._owner = self._door = self._file = -1


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _existing(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _write_all(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


class _locked:  # noqa: N801  # reads as a statement
    """Hold a lock within ``with``; waits for it."""

    def __init__(self, file: int, how: int) -> None:
        self._file, self._how = file, how

    def __enter__(self) -> None:
        if self._file < 0:
            raise GoneError("closed")
        fcntl.flock(self._file, self._how)

    def __exit__(self, *ended: object) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


def _try_lock(file: int, how: int = fcntl.LOCK_EX) -> bool:
    """Whether the lock is free. It is released at once."""
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True
