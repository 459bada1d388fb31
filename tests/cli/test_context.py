"""``context``: what a shell makes of it, the same with and without a journal, and refusals."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from otel_events.model.event import Run
from otel_events.model.identity import span_id, trace_id, traceparent
from tests.cli.conftest import Cli
from tests.patience import PATIENCE

RETRIES = Path(__file__).resolve().parents[1] / "golden" / "flyte" / "transports" / "grpc_requests.jsonl"
NAMESPACE = "flytesnacks/development"
ROOT = f"{NAMESPACE}/a7xk2p9qv5d8mzr3t6wb"
NATURAL = ("--source", "flyte", "--namespace", NAMESPACE)


@pytest.fixture
def journal(cli: Cli, tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    assert cli("replay", "flyte", RETRIES, "--out", tmp_path / "out", "--journal", path).code == 0
    return path


def told(cli: Cli, *arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("context", *arguments, "--json").out)
    return found


def expected(run: str, attempt: int, kind: str) -> str:
    return traceparent(trace_id("flyte", NAMESPACE, ROOT), span_id("flyte", NAMESPACE, run, attempt, kind))


def test_a_shell_takes_it_as_it_is(cli: Cli) -> None:
    name = 'it\'s $HOME "x"'
    printed = cli("context", "--source", "batch", "--id", name).out
    done = subprocess.run(
        ["sh", "-euc", 'eval "$1"; printf "%s\\n%s" "$TRACEPARENT" "$OTEL_EVENTS_PARENT"', "sh", printed],  # noqa: S607 - any POSIX shell
        capture_output=True, text=True, check=True, timeout=PATIENCE,
    )  # fmt: skip
    context, _, run = done.stdout.partition("\n")
    assert context == traceparent(trace_id("batch", "", name), span_id("batch", "", name, 1, "workflow"))
    assert json.loads(run)["id"] == name


@pytest.mark.parametrize(("run", "kind"), [(ROOT, "workflow"), (f"{ROOT}/n0", "node")])
def test_it_is_the_same_from_a_journal_and_from_natural_ids(cli: Cli, journal: Path, run: str, kind: str) -> None:
    recorded = told(cli, run, "--journal", journal)
    derived = told(cli, *NATURAL, "--root", ROOT, "--id", run, "--kind", kind)
    assert recorded["TRACEPARENT"] == derived["TRACEPARENT"] == expected(run, 1, kind)
    same = ("source", "namespace", "id", "root", "kind", "attempt")
    ours, theirs = (json.loads(one["OTEL_EVENTS_PARENT"]) for one in (recorded, derived))
    assert [ours[field] for field in same] == [theirs[field] for field in same]
    assert Run(**theirs).id == run


def test_the_last_attempt_unless_another_is_asked_for(cli: Cli, journal: Path) -> None:
    rows = json.loads(cli("dump", ROOT, "--journal", journal, "--json").out)
    task = rows[0]["children"][0]["children"][0]["id"]
    assert told(cli, task, "--journal", journal)["TRACEPARENT"] == expected(task, 3, "task")
    assert told(cli, task, "--journal", journal, "--attempt", 2)["TRACEPARENT"] == expected(task, 2, "task")
    refused = cli("context", task, "--journal", journal, "--attempt", 7)
    assert (refused.code, "those there are: 1, 2, 3" in refused.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "--source and --id"),
        (("x", *NATURAL), "one of the two"),
        (("--source", "ray"), "both needed"),
        (("--id", "x"), "both needed"),
        ((*NATURAL, "--root", ROOT, "--id", "n0"), "workflow, node, task"),
        ((*NATURAL, "--id", ROOT, "--kind", "job"), "workflow, node, task"),
    ],
)
def test_what_does_not_name_one_run_is_refused(cli: Cli, arguments: tuple[str, ...], says: str) -> None:
    refused = cli("context", *arguments)
    assert (refused.code, says in refused.err) == (2, True)


def test_a_run_that_is_not_in_the_journal(cli: Cli, journal: Path) -> None:
    refused = cli("context", "missing", "--journal", journal)
    assert (refused.code, "otel-events runs" in refused.err) == (1, True)
