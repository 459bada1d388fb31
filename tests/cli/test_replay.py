"""``otel-events replay`` on real records: the same bytes in any order, repeated, and by any transport."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from otel_events.sources import decoder
from tests.cli.conftest import Cli
from tests.cli.otlp_files import attributes, incomplete, orphans, spans
from tests.corpus import CORPUS, needs_corpus

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CASES = sorted(path for path in (GOLDEN / "flyte").iterdir() if any(path.glob("*.workflow.pb")))
TRANSPORTS = GOLDEN / "flyte" / "transports"
FILES = ("traces.jsonl", "logs.jsonl", "metrics.prom", "dead_letters.jsonl")


def replayed(cli: Cli, source: str, paths: Sequence[Path], out: Path) -> dict[str, bytes]:
    """What a replay into files writes, by file name; it must not fail for another reason than refused records."""
    ran = cli("replay", source, *paths, "--out", out)
    assert ran.code == (1 if (out / "dead_letters.jsonl").read_bytes() else 0), ran.err
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    return {name: (out / name).read_bytes() for name in FILES}


def shuffled_twice(paths: Sequence[Path]) -> list[Path]:
    again = [*paths, *paths]
    random.Random(7).shuffle(again)
    return again


def assert_same_in_any_form(cli: Cli, folder: Path, tmp_path: Path) -> None:
    """Protobuf files in order; shuffled and given twice; as JSON: equal bytes, and spans came of them."""
    binary = sorted(folder.glob("[0-9]*.pb"))
    twins = sorted([*folder.glob("[0-9]*.json"), *folder.glob("[0-9]*.json.gz")])
    first = replayed(cli, "flyte", binary, tmp_path / "first")
    again = replayed(cli, "flyte", shuffled_twice(binary), tmp_path / "again")
    text = replayed(cli, "flyte", twins, tmp_path / "text")
    assert len(twins) == len(binary)
    assert first["traces.jsonl"]
    for name in ("traces.jsonl", "logs.jsonl", "metrics.prom"):
        assert first[name] == again[name] == text[name]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_flyte_case_is_the_same_in_any_form(cli: Cli, folder: Path, tmp_path: Path) -> None:
    assert_same_in_any_form(cli, folder, tmp_path)


@needs_corpus
@pytest.mark.parametrize("name", sorted(path.name for path in (CORPUS / "flyte" / "scenarios").glob("*")))
def test_a_flyte_scenario_is_the_same_in_any_form(cli: Cli, name: str, tmp_path: Path) -> None:
    assert_same_in_any_form(cli, CORPUS / "flyte" / "scenarios" / name, tmp_path)


def restricted(whole: Path, transport: Path, to: Path) -> Path:
    """The lines of the gRPC capture (it has all) whose event the transport carries too."""
    decode = decoder("flyte")
    carried = {event.id for line in transport.read_bytes().splitlines() for event in decode(line, transport.name)}
    rows = [row for row in whole.read_bytes().splitlines() if decode(row, whole.name)[0].id in carried]
    to.write_bytes(b"\n".join(rows))
    return to


def without_labels(out: Path) -> list[Any]:
    """The spans less the labels that version 2 of Flyte's CloudEvents adds."""
    found = list(spans(out))
    for span in found:
        span["attributes"] = [one for one in span["attributes"] if not one["key"].startswith("flyte.label.")]
    return found


@pytest.mark.parametrize("transport", sorted(TRANSPORTS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_each_transport_gives_the_same_less_what_it_never_carries(cli: Cli, transport: Path, tmp_path: Path) -> None:
    part = restricted(TRANSPORTS / "grpc_requests.jsonl", transport, tmp_path / "part.jsonl")
    expected = replayed(cli, "flyte", [part], tmp_path / "expected")
    found = replayed(cli, "flyte", [transport], tmp_path / "found")
    if "v2" in transport.name:
        assert without_labels(tmp_path / "found") == without_labels(tmp_path / "expected")
    else:
        assert found == expected


@needs_corpus
@pytest.mark.parametrize("scenario", ["happy_path", "retries_user_then_system"])
def test_a_transport_gives_what_the_published_records_give(cli: Cli, scenario: str, tmp_path: Path) -> None:
    folder = CORPUS / "flyte" / "scenarios" / scenario
    rows = json.loads((folder / "expected.json").read_text())["events"]
    published = [path for row in rows if row["published"] for path in folder.glob(f"{row['i']:03}.*.pb")]
    expected = replayed(cli, "flyte", published, tmp_path / "expected")["traces.jsonl"]
    for transport in sorted((CORPUS / "flyte" / "transports" / scenario).glob("*[1s].jsonl")):
        if transport.name != "grpc_requests.jsonl":
            found = replayed(cli, "flyte", [transport], tmp_path / transport.stem)["traces.jsonl"]
            assert found == expected, transport.name


def test_the_text_sink_gives_the_same_workflows_and_nodes(cli: Cli, tmp_path: Path) -> None:
    # Its lines do not number the attempts of a task.
    replayed(cli, "flyte", [TRANSPORTS / "propeller_filesink.txt"], tmp_path / "text")
    replayed(cli, "flyte", [TRANSPORTS / "grpc_requests.jsonl"], tmp_path / "whole")

    def told(out: Path) -> list[Any]:
        keys = ("traceId", "spanId", "parentSpanId", "startTimeUnixNano", "endTimeUnixNano")
        found = [([span.get(key) for key in keys], attributes(span)) for span in spans(out)]
        return [[*place, on["otel_events.outcome"]] for place, on in found if on["otel_events.kind"] != "task"]

    assert told(tmp_path / "text") == told(tmp_path / "whole")
    assert len(told(tmp_path / "text")) == 2


KILLED = {"35902e0d-3f0c-4927-b7f0-bd77e3b14b3d", "01a1fb72-d971-7cfc-a029-3f56c06173b3"}
"""The flow run of s07 that was ended by SIGKILL, and its task run: nothing told their end."""


def assert_only_the_killed_are_incomplete(cli: Cli, paths: Sequence[Path], tmp_path: Path) -> None:
    first = replayed(cli, "prefect", paths, tmp_path / "first")
    again = replayed(cli, "prefect", shuffled_twice(paths), tmp_path / "again")
    assert first["traces.jsonl"] == again["traces.jsonl"]
    assert orphans(tmp_path / "first") == []
    assert incomplete(tmp_path / "first") == KILLED


@needs_corpus
def test_prefect_has_no_orphans_and_only_killed_runs_are_incomplete(cli: Cli, tmp_path: Path) -> None:
    assert_only_the_killed_are_incomplete(cli, sorted((CORPUS / "prefect").glob("*.jsonl")), tmp_path)


def test_prefect_runs_that_were_killed_are_the_only_incomplete_ones(cli: Cli, tmp_path: Path) -> None:
    paths = [GOLDEN / "prefect" / case / "records.jsonl" for case in ("s01_success", "s03_retries", "s07_cancel_crash")]
    assert_only_the_killed_are_incomplete(cli, paths, tmp_path)


def test_every_form_of_input_is_read(cli: Cli, tmp_path: Path) -> None:
    whole = TRANSPORTS / "grpc_requests.jsonl"
    packed = tmp_path / "in" / "inner" / "records.jsonl.gz"
    packed.parent.mkdir(parents=True)
    packed.write_bytes(gzip.compress(whole.read_bytes()))
    expected = replayed(cli, "flyte", [whole], tmp_path / "expected")
    assert replayed(cli, "flyte", [packed], tmp_path / "packed") == expected
    assert replayed(cli, "flyte", [tmp_path / "in"], tmp_path / "folder") == expected
    ran = cli("replay", "flyte", "-", "--out", tmp_path / "piped", stdin=whole.read_bytes())
    assert ran.code == 0
    assert (tmp_path / "piped" / "traces.jsonl").read_bytes() == expected["traces.jsonl"]


def test_refused_records_are_named_kept_and_cost_nothing_else(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    good = (TRANSPORTS / "grpc_requests.jsonl").read_bytes()
    path.write_bytes(b"".join(b"broken %d\n" % number for number in range(25)) + good)
    ran = cli("replay", "flyte", path, "--out", tmp_path / "out")
    replayed(cli, "flyte", [TRANSPORTS / "grpc_requests.jsonl"], tmp_path / "good")
    assert ran.code == 1
    named = [line for line in ran.err.splitlines() if line.startswith(f"refused {path}:")]
    assert [line.split(": ")[0] for line in named] == [f"refused {path}:{number}" for number in range(1, 21)]
    assert "refused 5 more" in ran.err
    assert "25 refused" in ran.err
    letters = [json.loads(line) for line in (tmp_path / "out" / "dead_letters.jsonl").read_bytes().splitlines()]
    assert [letter["record"] for letter in letters] == [f"broken {number}" for number in range(25)]
    assert letters[3]["where"] == f"{path}:4"
    assert (tmp_path / "out" / "traces.jsonl").read_bytes() == (tmp_path / "good" / "traces.jsonl").read_bytes()


def test_names_of_files_cannot_act_on_the_terminal(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "\x1b[31mred.jsonl"
    path.write_text("broken\n")
    ran = cli("replay", "flyte", path, "--out", tmp_path / "out")
    assert ran.code == 1
    assert "\x1b" not in ran.err
    assert "\\u001b[31mred.jsonl:1" in ran.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("replay", "nothing", "x"), "known: clearml, events, flyte, prefect, ray, "),
        (("replay", "flyte", "missing.jsonl", "--out", "out"), "no file or folder missing.jsonl"),
        (("replay", "flyte"), "Missing argument"),
        (("replay", "flyte", "-", "--bogus"), "No such option"),
    ],
)
def test_a_wrong_call_is_one_message_and_exit_code_2(cli: Cli, arguments: tuple[str, ...], told: str) -> None:
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert "Traceback" not in ran.err


def test_a_folder_that_cannot_be_written_is_told(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = cli("replay", "flyte", TRANSPORTS / "grpc_requests.jsonl", "--out", tmp_path / "file")
    assert ran.code == 2
    assert "--out" in ran.err


def test_a_wrong_setting_is_told_before_anything_is_read(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    ran = cli("replay", "flyte", TRANSPORTS / "grpc_requests.jsonl")
    assert ran.code == 2
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in ran.err


def test_an_empty_input_is_no_error_and_gives_empty_files(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    found = replayed(cli, "flyte", [tmp_path / "empty.jsonl"], tmp_path / "out")
    assert (found["traces.jsonl"], found["logs.jsonl"], found["dead_letters.jsonl"]) == (b"", b"", b"")
