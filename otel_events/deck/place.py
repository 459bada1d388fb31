"""Where the pages of attempts are stored: ``ROOT/RUN.ATTEMPT.html`` in the folder of decks, readable by its user alone.

The folder is $OTEL_EVENTS_DECKS, else ``decks`` beside the journal. The processes that write into it remove old pages.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from otel_events.journal.place import journal_path
from otel_events.model.errors import ConfigError
from otel_events.model.event import Run

PAGES = ".pages"
"""In it: where the pages of whole runs are put; no id is named so."""
VARIABLE = "OTEL_EVENTS_DECKS"
BYTES = 1 << 30
"""Of all pages in the folder; past it the oldest are removed."""
AGE = 30 * 86_400
"""Seconds since a page was written, after which it is removed."""
EVERY = 50
"""Pages that a process writes between two clean-ups; the first one cleans up too."""
NAME = 180
"""Bytes of a part of a path; of a longer id the end is replaced by its hash."""

_logger = logging.getLogger("otel_events")
_written = 0


def folder(journal: str | Path = "", environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of decks, of this journal; it may not be there yet."""
    named = environ.get(VARIABLE, "")
    return Path(named).expanduser() if named else journal_path(str(journal), environ).parent / "decks"


def safe(id_: str) -> str:
    """An id as one part of a path: distinct ids stay distinct, none is ``.``, ``..`` or a path."""
    name = quote(id_, safe="").replace(".", "%2E").replace("~", "%7E")
    if len(name) <= NAME and name:
        return name
    return f"{name[: NAME - 40]}~{hashlib.blake2b(id_.encode('utf-8', 'replace'), digest_size=16).hexdigest()}"


def path_of(run: Run, under: Path) -> Path:
    """The file of an attempt's page."""
    return under / safe(run.root) / f"{safe(run.id)}.{run.attempt}.html"


def write(path: Path, text: str) -> None:
    """Write a page whole or not at all, with rights for its user alone. OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # mode 0600, and a name that cannot be guessed
    handle, part = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(text)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def store(path: Path, text: str) -> None:
    """``write``, and now and then remove old pages of the folder. Raises OSError where it cannot be written."""
    global _written
    path.parents[1].mkdir(mode=0o700, parents=True, exist_ok=True)
    write(path, text)
    _written += 1
    if _written % EVERY == 1:
        prune(path.parents[1], time.time())


def prune(under: Path, now: float, size: int = BYTES, age: float = AGE) -> int:
    """Remove pages that are older than ``age`` seconds, and the oldest beyond ``size`` bytes; the number removed."""
    left, removed = size, 0
    for written, length, path in sorted(_pages(under), reverse=True):
        left -= length
        if left < 0 or written < now - age:
            with contextlib.suppress(OSError):  # another process removed it first
                path.unlink()
                removed += 1
            with contextlib.suppress(OSError):  # not empty yet
                path.parent.rmdir()
    if removed:
        _logger.info("%d decks older than %d days or beyond %d bytes were removed", removed, age // 86_400, size)
    return removed


def _pages(under: Path) -> Iterator[tuple[float, int, Path]]:
    for path in under.glob("*/*.html"):
        with contextlib.suppress(OSError):  # another process removed it
            status = path.stat()
            yield status.st_mtime, status.st_size, path


def named(run: str, under: Path) -> list[Path]:
    """The pages of a run.

    Args:
        run: The id of a root, or the beginning of one; else the id of a run.
        under: The folder of decks.

    Returns:
        Of a root the pages of all runs below it, else those of the run's own attempts.

    Raises:
        ConfigError: Several roots begin with ``run``.
    """
    if not run or not under.is_dir():
        return []
    roots = [path for path in under.iterdir() if path.name.startswith(safe(run)) and path.is_dir()]
    whole = [path for path in roots if path.name == safe(run)]
    if len(roots) > 1 and not whole:
        ids = "\n".join(f"  {path.name}" for path in sorted(roots)[:20])
        raise ConfigError(f"{len(roots)} runs in {under} fit {run!r}; give one of these in full:\n{ids}")
    if folders := whole or roots:
        return sorted(folders[0].glob("*.html"))
    return sorted(
        path for path in under.glob("*/*.html") if path.name.rpartition(".")[0].rpartition(".")[0] == safe(run)
    )
