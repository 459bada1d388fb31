"""Environments of the live tests: one for each file of requirements/live/, made when first asked for, then kept.

They live under ~/.cache/otel-events/live (or $OTEL_EVENTS_LIVE), named after what is in them, so that another checkout
or the next build finds them; this checkout is installed into them anew each time, for its entry points.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLACE = Path(os.environ.get("OTEL_EVENTS_LIVE", "") or Path.home() / ".cache" / "otel-events" / "live")
UV = Path(sysconfig.get_path("scripts")) / "uv"


@functools.cache
def python(name: str) -> Path:
    """The interpreter of the environment ``name``: what requirements/live/NAME.txt pins, and otel-events with its
    dependencies and ``extras`` named in the file's first line (``# extras: clearml``). Raises with pip's own words."""
    wanted = ROOT / "requirements" / "live" / f"{name}.txt"
    text = wanted.read_text()
    first = text.partition("\n")[0]
    extras = first.removeprefix("# extras:").replace(",", " ").split() if first.startswith("# extras:") else []
    key = hashlib.sha256(f"{text}{(ROOT / 'pyproject.toml').read_text()}{sys.version}".encode()).hexdigest()[:12]
    place = PLACE / f"{name}-{key}"
    PLACE.mkdir(parents=True, exist_ok=True)
    with (PLACE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several tests, or builds, may ask at once
        if not (place / ".whole").exists():
            _run("venv", "--quiet", "--clear", "--seed", "--python", sys.executable, str(place))
            named = [item for extra in extras for item in ("--extra", extra)]
            _pip(place, *named, "-r", str(ROOT / "pyproject.toml"), "-r", str(wanted), "hatchling", "editables")
            (place / ".whole").touch()
        _pip(place, "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
    return place / "bin" / "python"


def _pip(place: Path, *arguments: str) -> None:
    _run("pip", "install", "--quiet", "--python", str(place / "bin" / "python"), *arguments)


def _run(*arguments: str) -> None:
    done = subprocess.run([str(UV), *arguments], capture_output=True, text=True, check=False, timeout=1200)
    if done.returncode:
        raise RuntimeError(f"uv {' '.join(arguments)}: {done.stderr[-2000:]}")
