"""``deck``: one file of a run, from the journal and the folder of decks, in parts or whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import otel_events
from otel_events import Deck, current_run, task, workflow
from otel_events.deck import Text
from otel_events.inprocess import process
from otel_events.model.event import Run
from otel_events.testing import CaptureServer
from tests.cli.conftest import Cli
from tests.cli.test_look import RETRIES, ROOT
from tests.deck.conftest import Read


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OTEL_EVENTS_DECKS", raising=False)
    return tmp_path / "state" / "journal.db"


@pytest.fixture
def ran(journal: Path) -> list[Run]:
    """A workflow of two tasks with decks that has run: its run, and those of its tasks."""
    runs: list[Run] = []

    @task(name="step", enable_deck=True, deck_fields=())
    def step(number: int) -> None:
        Deck(f"deck {number}", Text(f"text {number}"))
        runs.append(current_run() or pytest.fail("no run"))

    @workflow(name="nightly")
    def nightly() -> None:
        runs.append(current_run() or pytest.fail("no run"))
        step(1)
        step(2)

    with CaptureServer() as receiver:
        otel_events.configure(journal, environ=receiver.environ("http/protobuf"))
        nightly()
        process.shutdown()
    return runs


def test_a_run_and_all_below_it(cli: Cli, journal: Path, ran: list[Run]) -> None:
    told = cli("deck", ran[0].id, "--journal", journal)
    assert (told.code, told.err) == (0, "")
    path = Path(told.out.strip())
    assert path.parent.parent == journal.parent / "decks"
    assert path.stat().st_mode & 0o077 == 0
    page = Read(path.read_text(encoding="utf-8"))
    assert len(page.tabs) == 3
    assert {"nightly", "succeeded", "Timeline"} <= set(page.texts)
    frames = [Read(str(frame["srcdoc"])).text for frame in page.all("iframe")]
    assert ["text 1" in frames[0], "text 2" in frames[1]] == [True, True]
    assert "Reports" not in page.texts  # its decks are tabs


def test_one_task_of_it_into_a_file_of_its_own(cli: Cli, journal: Path, ran: list[Run], tmp_path: Path) -> None:
    out = tmp_path / "one" / "deck.html"
    told = cli("deck", ran[2].id, "--journal", journal, "-o", out)
    assert told.out.strip() == str(out)
    [frame] = Read(out.read_text(encoding="utf-8")).all("iframe")
    assert "text 2" in str(frame["srcdoc"])


@pytest.mark.parametrize(("which", "tabs"), [(0, 2), (1, 1)])
def test_decks_show_without_a_journal(
    cli: Cli, journal: Path, ran: list[Run], monkeypatch: pytest.MonkeyPatch, which: int, tabs: int
) -> None:
    monkeypatch.setenv("OTEL_EVENTS_DECKS", str(journal.parent / "decks"))
    told = cli("deck", ran[which].id, "--journal", journal.parent / "none.db")
    assert told.code == 0
    assert len(Read(Path(told.out.strip()).read_text()).tabs) == tabs


def test_a_run_of_another_source_has_a_timeline_and_what_it_reports(cli: Cli, tmp_path: Path) -> None:
    journal = tmp_path / "flyte.db"
    assert cli("replay", "flyte", RETRIES, "--out", tmp_path / "out", "--journal", journal).code == 0
    told = cli("deck", ROOT, "--journal", journal)
    page = Read(Path(told.out.strip()).read_text(encoding="utf-8"))
    assert "Timeline" in page.texts
    assert "attempt 2" in page.text
    assert "failed" in page.texts
    assert ROOT in page.texts


def test_what_is_not_there_is_said_with_what_to_do(cli: Cli, journal: Path, ran: list[Run]) -> None:
    nothing = cli("deck", "f" * 40, "--journal", journal)
    assert (nothing.code, nothing.out) == (1, "")
    assert "`otel-events runs` lists those there are" in nothing.err
    assert str(journal.parent / "decks") in nothing.err
    missing = cli("deck", ran[0].id, "--journal", journal.parent / "other" / "none.db")
    assert missing.code == 2
    assert "no journal at" in missing.err
    refused = cli("deck", ran[0].id, "--journal", journal, "-o", journal / "x.html")
    assert refused.code == 2
    assert "name another file with -o" in refused.err


def test_open_hands_the_file_to_the_browser(journal: Path, ran: list[Run], tmp_path: Path) -> None:
    browser, seen = tmp_path / "browser", tmp_path / "seen"
    browser.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    browser.chmod(0o700)
    out = tmp_path / "deck.html"
    command = [
        sys.executable,
        "-m",
        "otel_events",
        "deck",
        ran[0].id,
        "--journal",
        str(journal),
        "-o",
        str(out),
        "--open",
    ]
    environ = os.environ | {"BROWSER": f"{browser} %s", "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (str(out), "")
    assert seen.read_text().strip() == out.as_uri()
