"""The example, and the code in docs/decks.md, do what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from otel_events.deck.parts import COLUMNS, LARGEST, ROWS
from otel_events.deck.place import AGE, BYTES
from tests.deck.conftest import Read
from tests.patience import PATIENCE

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "decks.md").read_text(encoding="utf-8")


def run(decks: Path, *arguments: str) -> str:
    told = {"OTEL_EVENTS_DECKS": str(decks), "HOME": str(decks.parent), "OTEL_SDK_DISABLED": "true"}
    command, environ = [sys.executable, *arguments], os.environ | told
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return done.stdout


def test_the_example_prints_the_command_that_shows_its_deck(decks: Path, tmp_path: Path) -> None:
    [told] = re.findall(r"otel-events (deck \w+) --open", run(decks, str(ROOT / "examples" / "deck.py")))
    journal = ["--journal", str(tmp_path / "none.db")]
    path = run(decks, "-m", "otel_events", *told.split(), *journal).strip()
    [frame] = Read(Path(path).read_text(encoding="utf-8")).all("iframe")
    page = Read(str(frame["srcdoc"]))
    assert {"Losses", "Notes", "Input", "Output", "Timeline", "0.2857", "epochs"} <= set(page.texts)
    assert "evaluate" in page.text


def test_the_code_of_the_page_runs(decks: Path, tmp_path: Path) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "job.py").write_text(code, encoding="utf-8")
    run(decks, str(tmp_path / "job.py"))
    [path] = decks.glob("*/*.html")
    assert {"Losses", "Notes", "Done", "Input", "Timeline"} <= set(Read(path.read_text(encoding="utf-8")).texts)


def test_the_bounds_that_the_page_tells() -> None:
    assert f"{ROWS} rows and {COLUMNS} columns" in PAGE
    assert f"A part holds {LARGEST >> 20} Mi characters" in PAGE
    assert f"Beyond {BYTES >> 30} GiB or {AGE // 86_400} days" in PAGE
