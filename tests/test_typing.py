"""What mypy makes of decorated functions: their types, and mistakes in calling them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
from collections.abc import AsyncIterator, Iterator
from otel_events import current_context, task, workflow

@task
def plain(rows: int, *, path: str = "") -> float: return rows / 2
@task(retries=1, timeout=5, cache=True, cache_version="1")
def chosen(rows: int) -> list[str]: return []
@task
async def waits(rows: int) -> bytes: return b""
@task(name="steps")
def steps(rows: int) -> Iterator[str]: yield ""
@task
async def feed(rows: int) -> AsyncIterator[str]: yield ""
@workflow
def nightly() -> float: return plain(1)

class Model:
    @task
    def method(self, rows: int) -> float: return 1.0
    @task(name="other")
    def named(self, rows: int) -> str: return ""
    @classmethod
    @task
    def of_class(cls, rows: int) -> "Model": return cls()
    @staticmethod
    @task
    def static(rows: int) -> complex: return 1j

reveal_type(plain)
reveal_type(plain(1, path=""))
reveal_type(chosen(1))
async def main() -> None:
    reveal_type(await waits(1))
    async for item in feed(1):
        reveal_type(item)
reveal_type([one for one in steps(1)])
reveal_type(nightly())
reveal_type(Model().method(1))
reveal_type(Model().named(1))
reveal_type(Model.of_class(1))
reveal_type(Model.static(1))
reveal_type(current_context().stats.timer("x"))
plain("1")
plain(1, place="")
Model().method("1")
task(retries="3")
"""
REVEALED = [
    "def (rows: int, *, path: str =) -> float",
    *("float", "list[str]", "bytes", "str", "list[str]", "float", "float", "str", "program.Model", "complex"),
    "otel_events.tasks.stats.Timer",
]
REFUSED = ["arg-type", "call-arg", "arg-type", "call-overload"]


def test_mypy_sees_through_the_decorators(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    cache = ROOT / ".mypy_cache"  # that of `make check`
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), str(tmp_path / "program.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    told = [line for line in done.stdout.splitlines() if "program.py" in line]
    found = [
        match[1].replace("builtins.", "") for line in told if (match := re.search(r'Revealed type is "(.*)"', line))
    ]
    assert found == REVEALED, done.stdout + done.stderr
    refused = [match[1] for line in told if (match := re.search(r"error: .*\[([a-z-]+)\]$", line))]
    assert refused == REFUSED, done.stdout
