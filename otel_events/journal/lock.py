"""The lock that lets one writer at a time into a journal: an advisory lock on a file beside it, which names the
holder. Readers do not take it."""

from __future__ import annotations

import fcntl
import os
import weakref
from pathlib import Path

from otel_events.model.errors import JournalError

_held: weakref.WeakSet[WriterLock] = weakref.WeakSet()


class WriterLock:
    """Holds ``<file>-lock`` until ``release`` or the end of the process. JournalError where another holds it.

    flock, not lockf: it also refuses a second writer of the same process, and SQLite's own locks on the file itself
    are left alone. A forked child must not keep the parent's lock alive, so it closes its copy at birth.
    """

    def __init__(self, journal: Path) -> None:
        self.path = journal.with_name(journal.name + "-lock")
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise JournalError(
                f"cannot lock {journal}: {error.strerror} ({self.path}); give this user the right to write that "
                "folder, or name a journal elsewhere"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._fd)
            raise JournalError(
                f"{journal} is locked: process {holder} writes it already; end that process or name another "
                "journal (Journal.reader reads it meanwhile)"
            ) from error
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)
        _held.add(self)

    def release(self) -> None:
        """Let the next writer in; any number of times. The file stays: removing it would race with the next."""
        _held.discard(self)
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _in_child() -> None:
    for lock in list(_held):
        lock.release()


os.register_at_fork(after_in_child=_in_child)
