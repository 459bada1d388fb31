"""Prints a digest of each file that ``replay`` writes for each folder of records: a move of code must change none.

python scripts/replay_digests.py FOLDER... > before
python scripts/replay_digests.py FOLDER... | diff before -

Every folder under FOLDER that holds files is replayed once for each source that its path names (``flyte``,
``ray_workflow``); what is refused counts too, as dead_letters.jsonl.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, suppress
from io import StringIO
from pathlib import Path

import typer

from otel_events.cli.replay import replay
from otel_events.model.errors import OtelEventsError

SOURCES = {
    "clearml": ("clearml",),
    "clearml_offline": ("clearml",),
    "flyte": ("flyte",),
    "flytekit": ("flyte",),
    "prefect": ("prefect",),
    "ray": ("ray", "ray-workflow"),
    "ray_jobs": ("ray",),
    "ray_workflow": ("ray-workflow",),
    "ray-workflow": ("ray-workflow",),
    "events": ("events",),
}
"""Part of a path -> the sources that its records are read as."""
WRITTEN = ("traces.jsonl", "logs.jsonl", "metrics.prom", "dead_letters.jsonl")


def folders(top: Path) -> Iterator[Path]:
    for folder, inner, names in os.walk(top):
        inner.sort()
        if names:
            yield Path(folder)


def digests(source: str, folder: Path) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as out, chdir(folder.parent):
        with suppress(OtelEventsError, typer.Exit), redirect_stderr(StringIO()):
            replay(source, [folder.name], out=out)
        for name in WRITTEN:
            written = Path(out, name)
            body = written.read_bytes() if written.exists() else b""
            yield f"{hashlib.sha256(body).hexdigest()[:32]} {len(body):9} {name:18} {source:12} {folder}"


def main() -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        del os.environ[name]
    for top in sys.argv[1:]:
        for folder in folders(Path(top)):
            named = [sources for part in folder.parts if (sources := SOURCES.get(part))]
            for source in named[0] if named else ():
                print("\n".join(digests(source, folder)), flush=True)


if __name__ == "__main__":
    main()
