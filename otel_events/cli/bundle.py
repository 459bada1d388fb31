"""``otel-events bundle``: files of the collector, Prometheus and Grafana, out of the package."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from otel_events.cli.common import say
from otel_events.model.errors import ConfigError

PARTS = ("collector", "grafana")
SUFFIXES = (".yaml", ".json", ".md", ".sh", "Dockerfile")
"""What a bundle is made of; a source tree has tools, tests and tables beside it."""
LEFT_OUT = ("tools", "tests")

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; made if it is not there.")]
Force = Annotated[bool, typer.Option("--force", help="Write over files that are there and differ.")]


def bundle(folder: Folder, force: Force = False) -> None:
    """Write the files of the stack: collector, Prometheus rules and alerts, dashboards, provisioning, runbooks.

    What is there already and the same stays; what differs is kept too, and named, unless --force says otherwise: then
    nothing is written. docs/stack.md says how to go on.

    Examples:

        otel-events bundle stack/
        promtool check rules stack/collector/prometheus/alerts.yaml
        OTEL_EVENTS_PACKAGE=otel-events docker compose -f stack/collector/compose.yaml up -d
    """
    files = list(contents())
    differ = [name for name, path in files if _differs(folder / name, path)]
    if differ and not force:
        named = ", ".join(differ[:5]) + (f" and {len(differ) - 5} more" if len(differ) > 5 else "")
        raise ConfigError(
            f"in {folder}: {named} differ from the bundle; name another folder, or --force writes over them"
        )
    try:
        for name, path in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
            shutil.copymode(path, folder / name)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}; name a folder that can be written") from error
    say(f"{len(files)} files written to {folder}; next: collector/compose.yaml, or docs/stack.md without containers")


def contents() -> Iterator[tuple[str, Path]]:
    """(path in the bundle, file) of all that belongs to it, sorted."""
    packaged = Path(__file__).parents[1] / "bundle"
    root = packaged if packaged.is_dir() else packaged.parents[1]  # a source tree has them at its top
    for part in PARTS:
        for path in sorted((root / part).rglob("*")):
            inner = path.relative_to(root)
            if path.is_file() and path.name.endswith(SUFFIXES) and not set(LEFT_OUT) & set(inner.parts):
                yield inner.as_posix(), path


def _differs(there: Path, ours: Path) -> bool:
    return there.exists() and (not there.is_file() or there.read_bytes() != ours.read_bytes())
