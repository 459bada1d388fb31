"""``runs``, ``explain`` and ``dump`` over a journal that a replay has kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Cli

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
RETRIES = GOLDEN / "flyte" / "transports" / "grpc_requests.jsonl"
ROOT = "flytesnacks/development/a7xk2p9qv5d8mzr3t6wb"
TASK = f"{ROOT}/n0/"


@pytest.fixture
def journal(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    assert cli("replay", "flyte", RETRIES, "--out", tmp_path / "out", "--journal", path).code == 0
    return path


def test_runs_lists_the_outermost_runs(cli: Cli, journal: Path) -> None:
    heads, row = cli("runs", "--journal", journal).out.splitlines()
    assert heads.split() == ["outcome", "start", "seconds", "events", "source", "namespace", "workflow", "id"]
    assert row.split()[0] == "succeeded"
    assert row.endswith(ROOT)
    told = json.loads(cli("runs", "--json", "--journal", journal).out)
    assert (told["id"], told["outcome"], told["source"], told["namespace"]) == (
        ROOT,
        "succeeded",
        "flyte",
        "flytesnacks/development",
    )


def test_runs_shows_the_newest_up_to_a_limit(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    rows = []
    for number in range(5):
        run = {"source": "batch", "kind": "workflow", "id": f"n/{number}", "name": "n", "root": f"n/{number}"}
        event = {"event": "phase", "id": "1", "time": 10**18 + number, "run": run, "phase": "running", "native": "up"}
        rows.append(json.dumps(event))
    path.write_text("\n".join(rows))
    assert cli("replay", "events", path, "--journal", tmp_path / "j.db", "--out", tmp_path / "out").code == 0
    listed = cli("runs", "--limit", "3", "--json", "--journal", tmp_path / "j.db").out.splitlines()
    assert len(listed) == 3
    everything = cli("runs", "--json", "--journal", tmp_path / "j.db").out.splitlines()
    assert {json.loads(row)["id"] for row in everything} == {f"n/{number}" for number in range(5)}
    assert cli("runs", "--limit", "0", "--journal", tmp_path / "j.db").code == 2


def test_explain_shows_the_tree_with_every_attempt(cli: Cli, journal: Path) -> None:
    ran = cli("explain", ROOT, "--journal", journal)
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].split() == ["operation", "start_timestamp", "end_timestamp", "duration", "entity"]
    assert [line for line in lines if "attempt 3 succeeded" in line]
    assert [line for line in lines if line.startswith("WORKFLOW_RUNNING")]


def test_a_beginning_of_the_id_is_enough_and_an_inner_run_shows_alone(cli: Cli, journal: Path) -> None:
    whole = cli("dump", ROOT, "--journal", journal).out
    assert cli("dump", "flytesnacks/dev", "--journal", journal).out == whole
    (root,) = yaml.safe_load(whole)
    inner = root["children"][0]
    found = yaml.safe_load(cli("dump", inner["id"], "--journal", journal).out)
    assert [one["id"] for one in found] == [inner["id"]] * len(found)
    assert found[0] == inner


def test_dump_is_the_tree_as_yaml_or_json(cli: Cli, journal: Path) -> None:
    (root,) = yaml.safe_load(cli("dump", ROOT, "--journal", journal).out)
    assert (root["id"], root["kind"], root["outcome"]) == (ROOT, "workflow", "succeeded")
    assert set(root["seconds"]) == {"queued", "running", "idle"}
    assert json.loads(cli("dump", ROOT, "--json", "--journal", journal).out) == [root]


def test_an_unknown_run_is_one_message_with_the_next_step(cli: Cli, journal: Path) -> None:
    for command in ("explain", "dump"):
        ran = cli(command, "nowhere", "--journal", journal)
        assert (ran.code, ran.out) == (1, "")
        assert "`otel-events runs`" in ran.err


def test_several_runs_that_fit_are_named(cli: Cli, tmp_path: Path) -> None:
    rows = []
    for number in range(2):
        run = {
            "source": "batch",
            "kind": "workflow",
            "id": f"nightly/{number}",
            "name": "n",
            "root": f"nightly/{number}",
        }
        rows.append(
            json.dumps({"event": "phase", "id": "1", "time": 10**18, "run": run, "phase": "running", "native": "up"})
        )
    path = tmp_path / "two.jsonl"
    path.write_text("\n".join(rows))
    assert cli("replay", "events", path, "--journal", tmp_path / "j.db", "--out", tmp_path / "out").code == 0
    ran = cli("explain", "nightly", "--journal", tmp_path / "j.db")
    assert ran.code == 2
    assert "nightly/0" in ran.err
    assert "nightly/1" in ran.err


@pytest.mark.parametrize("command", [("runs",), ("explain", "x"), ("dump", "x")])
def test_without_a_journal_the_message_says_how_to_get_one(cli: Cli, command: tuple[str, ...], tmp_path: Path) -> None:
    ran = cli(*command, "--journal", tmp_path / "none.db")
    assert ran.code == 2
    assert "none.db" in ran.err
    assert "otel-events replay" in ran.err
    assert "Traceback" not in ran.err


def test_the_journal_may_be_named_by_the_environment(
    cli: Cli, journal: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_EVENTS_JOURNAL", str(journal))
    assert ROOT in cli("runs").out
    monkeypatch.delenv("OTEL_EVENTS_JOURNAL")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert str(tmp_path / "state" / "otel-events" / "journal.db") in cli("runs").err
    monkeypatch.delenv("XDG_STATE_HOME")
    assert str(tmp_path / "home" / ".local" / "state" / "otel-events" / "journal.db") in cli("runs").err


def test_an_empty_journal_says_how_to_fill_it(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    cli("replay", "flyte", tmp_path / "empty.jsonl", "--journal", tmp_path / "j.db", "--out", tmp_path / "out")
    ran = cli("runs", "--journal", tmp_path / "j.db")
    assert (ran.code, ran.out) == (0, "")
    assert "otel-events serve" in ran.err
