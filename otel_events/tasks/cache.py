"""Results of tasks on disk (diskcache), by the key of their inputs (fingerprint.py).

They are in $OTEL_EVENTS_CACHE, else in otel-events/tasks of $XDG_CACHE_HOME or ~/.cache. Values are pickled, and
reading a pickle runs code that it names: so the folder is made for its user alone (0700), and one that others own or
may write to is not used.
Nothing here raises: what fails is counted and logged once, and the task runs as if there were no cache.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import Any

import diskcache
import msgspec

from otel_events.inprocess.faults import fault
from otel_events.model.event import Link

PLACE = "OTEL_EVENTS_CACHE"
FAULT = "the cache of a task"
LIMIT = 1 << 30
"""Bytes of all results; past it the least recently stored are removed."""


class Entry(msgspec.Struct, frozen=True):
    """A result, and a link to the run that made it."""

    result: Any
    link: Link


class _Cache(diskcache.Cache):  # type: ignore[misc]  # it has no types
    """Closes its connection where the file is no database of diskcache's."""

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(str(path), size_limit=LIMIT)
        except BaseException:
            with contextlib.suppress(Exception):  # where no connection was opened yet
                self.close()
            raise


_open: dict[Path, _Cache] = {}
_opening = threading.Lock()


class _Connection:
    """A connection of one thread, closed when that thread ends: diskcache leaves it to the garbage collector, which
    warns since Python 3.13."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # of a parent process, or closed already
            self._connection.close()


class _OfThread(threading.local):
    """What a thread has open, by the folder."""

    def __init__(self) -> None:
        self.connections: dict[Path, _Connection] = {}


_of_thread = _OfThread()


def place() -> Path:
    """The folder of the cache, as the environment says; it may not exist yet."""
    named = os.environ.get(PLACE, "")
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "otel-events" / "tasks"


def _cache() -> _Cache:
    """Raises PermissionError for a folder that is not this user's alone, and what diskcache raises."""
    path = place()
    with _opening:
        if path not in _open:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = path.stat()
            if status.st_uid != os.getuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise PermissionError(
                    f"{path} is another user's, or others may write to it: chmod 700, or name one in {PLACE}"
                )
            _open[path] = _Cache(path)
        cache = _open[path]
    if path not in _of_thread.connections:
        _of_thread.connections[path] = _Connection(cache._con)
    return cache


def _at_exit() -> None:
    """The connections of the main thread, which does not end before the interpreter does."""
    for cache in _open.values():
        with contextlib.suppress(Exception):
            cache.close()


atexit.register(_at_exit)


def _in_child() -> None:
    global _opening, _of_thread
    _opening, _of_thread = threading.Lock(), _OfThread()
    _open.clear()  # SQLite's connections are their process's own


os.register_at_fork(after_in_child=_in_child)


def look_up(key: str) -> Entry | None:
    """The entry of ``key``; None where there is none, or it cannot be read."""
    try:
        entry = _cache().get(key)
        return entry if isinstance(entry, Entry) else None
    except Exception as error:  # noqa: BLE001  # a damaged file, a class that is no more: the task runs
        fault(FAULT, error)
        return None


def store(key: str, result: Any, link: Link) -> bool:
    """Store a result; whether that was possible."""
    try:
        return bool(_cache().set(key, Entry(result, link)))
    except Exception as error:  # noqa: BLE001  # a result that cannot be pickled, a full disk
        fault(FAULT, error)
        return False


class Turn:
    """A lock of one key among all processes of this folder: held by one at a time, released when its process ends."""

    def __init__(self, key: str) -> None:
        self._key, self._fd = key, -1

    def take(self, wait: bool) -> bool:
        """Take the lock.

        Args:
            wait: Whether to wait while another process holds it.

        Returns:
            Whether the caller may go on: True also where the folder cannot be used, since tasks run without a cache.
        """
        try:
            if self._fd < 0:
                folder = Path(_cache().directory) / "turns"
                folder.mkdir(mode=0o700, exist_ok=True)
                self._fd = os.open(folder / self._key, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        except Exception as error:  # noqa: BLE001  # without turns the tasks still run
            fault(FAULT, error)
        return True

    def give(self) -> None:
        """Release the lock; any number of times."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
