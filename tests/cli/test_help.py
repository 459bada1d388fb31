"""``--help`` of each command is enough to use it, and docs/cli.md is what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from otel_events.cli import app, cli_docs
from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("demo", "replay", "serve", "runs", "explain", "dump", "deck", "metadata", "context", "bundle", "doctor")


def test_the_commands_are_these() -> None:
    assert tuple(one.callback.__name__ for one in app.registered_commands if one.callback) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_it_does_and_shows_an_example(cli: Cli, command: str) -> None:
    ran = cli(command, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"otel-events {command} " in ran.out + " "
    assert "Examples:" in ran.out
    assert f"\n  otel-events {command}" in ran.out


def test_without_a_command_the_help_is_shown(cli: Cli) -> None:
    ran = cli()
    assert ran.code == 2
    for command in COMMANDS:
        assert command in ran.out + ran.err


def test_the_page_has_every_command_with_every_option() -> None:
    page = cli_docs()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8").endswith(page)
    for one in app.registered_commands:
        assert one.callback is not None
        assert f"## {one.callback.__name__}\n" in page
    assert "`--token-file FILE`" in page
    assert "`PATH...`" in page


@pytest.mark.parametrize("arguments", [["-m", "otel_events"], ["-c", "from otel_events.cli import main; main()"]])
def test_the_command_runs_as_a_module_and_as_a_script(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, *arguments, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("otel-events ")
