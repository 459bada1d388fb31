"""Builds what the stack runs on from Go modules: the collector of collector/builder.yaml, Prometheus, promtool, Jaeger.

``python scripts/stack_binaries.py [NAME...]`` builds them and prints the paths. They lie under ~/.cache/otel-events/bin
(or $OTEL_EVENTS_BIN), in folders named after what they are built from: the next build, or another checkout, finds them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = Path(os.environ.get("OTEL_EVENTS_BIN", "") or Path.home() / ".cache" / "otel-events" / "bin")
COLLECTOR = "otelcol-otel-events"
_PROMETHEUS = ("collector/tools", "-tags=remove_all_sd")
"""Module, and how it is built: without the clients of cloud vendors, of which the stack asks none."""
TOOLS = {
    "prometheus": ("github.com/prometheus/prometheus/cmd/prometheus", *_PROMETHEUS),
    "promtool": ("github.com/prometheus/prometheus/cmd/promtool", *_PROMETHEUS),
    "jaeger": ("github.com/jaegertracing/jaeger/cmd/jaeger", "collector/tools/jaeger", "-tags="),
}
"""Name -> package, the module whose go.mod pins its version, flags. Jaeger's 1.62 module has the first Jaeger 2."""
MINUTES = 30


class BuildError(Exception):
    """A build failed, with Go's own last words."""


def binary(name: str) -> Path:
    """The path of ``name`` (COLLECTOR or one of TOOLS), built if it is not there. Raises BuildError."""
    key = hashlib.sha256(_made_of(name)).hexdigest()[:12]
    found = PLACE / f"{name}-{key}" / name
    found.parent.mkdir(parents=True, exist_ok=True)
    with (PLACE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not found.exists():
            print(f"building {name} from its modules: minutes, once", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(dir=PLACE) as folder:
                built = _collector(Path(folder)) if name == COLLECTOR else _tool(name, Path(folder))
                built.replace(found)
    return found


def _made_of(name: str) -> bytes:
    if name == COLLECTOR:
        return (ROOT / "collector" / "builder.yaml").read_bytes()
    _, module, *flags = TOOLS[name]
    files = [(ROOT / module / file).read_bytes() for file in ("go.mod", "go.sum")]
    return b"".join(files) + " ".join(flags).encode()


def _collector(folder: Path) -> Path:
    text = (ROOT / "collector" / "builder.yaml").read_text()
    release = next(line.split()[-1] for line in text.splitlines() if line.startswith("  version:"))
    wanted = folder / "builder.yaml"
    wanted.write_text(text.replace("./.cache/collector", str(folder / "source")))
    _go("run", f"go.opentelemetry.io/collector/cmd/builder@v{release}", "--config", str(wanted))
    return folder / "source" / COLLECTOR


def _tool(name: str, folder: Path) -> Path:
    package, module, *flags = TOOLS[name]
    _go("build", "-C", str(ROOT / module), *flags, "-o", str(folder / name), package)
    return folder / name


def _go(*arguments: str) -> None:
    go = shutil.which("go")
    if not go:
        raise BuildError("go is needed and not found: install Go 1.26 or newer")
    environ = os.environ | {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod -buildvcs=false"}
    done = subprocess.run(
        [go, *arguments], capture_output=True, text=True, check=False, env=environ, timeout=MINUTES * 60
    )
    if done.returncode:
        raise BuildError(f"go {' '.join(arguments)}: {(done.stdout + done.stderr)[-3000:]}")


def main() -> int:
    """Build the named ones, or all; prints ``NAME PATH`` a line."""
    try:
        for name in sys.argv[1:] or (COLLECTOR, *TOOLS):
            print(name, binary(name))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
