"""Records of Flyte 1 and 2 and the events that they are: tests/golden/flyte, and the whole corpus where it is at hand.

OTEL_EVENTS_WRITE_GOLDEN=1 writes events.jsonl anew from what the code gives now; read the difference before committing.
Each record lies there as protobuf and as proto3 JSON; ``transports`` holds one scenario as each transport carries it.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, Log, PhaseChange, Report
from otel_events.sources.flyte.decode import decode
from tests.corpus import CORPUS, needs_corpus

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "flyte"
TRANSPORTS = GOLDEN / "transports"
CASES = sorted(path.name for path in GOLDEN.iterdir() if path.name not in ("transports", "spans"))
WRITE = bool(os.environ.get("OTEL_EVENTS_WRITE_GOLDEN"))
FLYTE = CORPUS / "flyte"


def decoded(record: bytes, hint: str) -> list[AnyEvent]:
    """The events, or none of a record that is refused (a case names those)."""
    try:
        return decode(record, hint)
    except DecodeError:
        return []


def binary(folder: Path) -> list[AnyEvent]:
    return [event for path in sorted(folder.glob("*.pb")) for event in decoded(path.read_bytes(), path.name)]


@pytest.mark.parametrize("case", CASES)
def test_records_become_the_reviewed_events(case: str) -> None:
    found = binary(GOLDEN / case)
    path = GOLDEN / case / "events.jsonl"
    if WRITE:
        path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in found))
    reviewed = [msgspec.json.decode(line, type=AnyEvent) for line in path.read_bytes().splitlines()]
    assert found == reviewed


@pytest.mark.parametrize("case", CASES)
def test_json_and_protobuf_with_and_without_hint_are_the_same_events(case: str) -> None:
    for path in (GOLDEN / case).glob("*.pb"):
        record, text = path.read_bytes(), path.with_suffix(".json").read_bytes()
        found = decoded(record, path.name)
        assert found == decoded(record, "") == decoded(text, path.name) == decoded(text, "")


def test_only_the_malformed_records_are_refused() -> None:
    refused = {
        f"{path.parent.name}/{path.name}"
        for path in GOLDEN.glob("*/*.pb")
        if path.parent.name != "spans" and not decoded(path.read_bytes(), path.name)
    }
    assert refused == {
        "malformed/000.workflow.pb",  # empty
        "malformed/001.task.pb",  # no ids
        "malformed/002.node.pb",  # no time
        "malformed/003.workflow.pb",  # phase 99
        "malformed/004.workflow.pb",  # the epoch
    }


@pytest.mark.parametrize("name", ["retry_span.pb", "retry_span.json"])
@pytest.mark.parametrize("hint", ["", "flyteidl.core.Span"])
def test_span_trees_are_refused_with_where_to_take_them(name: str, hint: str) -> None:
    with pytest.raises(DecodeError, match="otel-events explain"):
        decode((GOLDEN / "spans" / name).read_bytes(), hint)


def bare(event: AnyEvent) -> AnyEvent:
    """An event less what version 2 of the CloudEvents adds in the recorded transports: labels."""
    told = {key: value for key, value in event.attributes.items() if not key.startswith("flyte.label.")}
    return msgspec.structs.replace(event, attributes=told)


def carried(path: Path) -> Iterator[AnyEvent]:
    for line in path.read_bytes().splitlines():
        yield from decode(line, path.name)


def same_as_grpc(folder: Path, path: Path) -> None:
    whole = {event.id: event for event in carried(folder / "grpc_requests.jsonl")}
    found = list(carried(path))
    assert found
    for event in found:
        assert event == whole[event.id] or ("v2" in path.name and bare(event) == whole[event.id])


def as_the_sink_tells(event: AnyEvent) -> tuple[object, ...]:
    assert isinstance(event, PhaseChange)
    return event.run.id, event.run.kind, event.native, event.time


def same_as_sink(folder: Path, path: Path) -> None:
    whole = [event for event in carried(folder / "grpc_requests.jsonl") if isinstance(event, PhaseChange)]
    assert [as_the_sink_tells(event) for event in carried(path)] == [as_the_sink_tells(event) for event in whole]
    assert {event.run.attempt for event in carried(path) if event.run.kind == "task"} == {0}


@pytest.mark.parametrize("name", sorted(path.name for path in TRANSPORTS.glob("*.jsonl")))
def test_an_event_is_the_same_by_any_transport(name: str) -> None:
    same_as_grpc(TRANSPORTS, TRANSPORTS / name)


def test_propellers_text_sink_tells_runs_phases_and_times() -> None:
    same_as_sink(TRANSPORTS, TRANSPORTS / "propeller_filesink.txt")


def test_grpc_captures_are_the_admin_requests() -> None:
    sent = list(carried(TRANSPORTS / "grpc_requests.jsonl"))
    assert sent == binary(GOLDEN / "retries_user_then_system")


def test_version_2_adds_labels_to_tasks() -> None:
    events = list(carried(TRANSPORTS / "kafka_v2.jsonl"))
    assert {event.attributes.get("flyte.label.team") for event in events if event.run.kind == "task"} == {"ml"}


@needs_corpus
def test_every_scenario_decodes_alike_as_protobuf_and_json() -> None:
    for folder in sorted((FLYTE / "scenarios").iterdir()):
        for path in sorted(folder.glob("*.pb")):
            text = path.with_suffix(".json")
            packed = text.with_name(text.name + ".gz")
            twin = text.read_bytes() if text.exists() else gzip.decompress(packed.read_bytes())
            found = decoded(path.read_bytes(), path.name)
            assert found == decoded(path.read_bytes(), "") == decoded(twin, text.name) == decoded(twin, "")
            assert found or folder.name == "malformed"


@needs_corpus
def test_every_scenario_tells_the_phases_that_its_oracle_names() -> None:
    for folder in sorted((FLYTE / "scenarios").iterdir()):
        told = json.loads((folder / "expected.json").read_text())["events"]
        for path, row in zip(sorted(folder.glob("*.pb")), told, strict=True):
            for event in decoded(path.read_bytes(), path.name)[:1]:
                assert isinstance(event, PhaseChange)
                assert (event.native, event.run.kind) == (row["phase"], row["kind"])


@needs_corpus
def test_every_transport_carries_equal_events() -> None:
    for folder in sorted((FLYTE / "transports").iterdir()):
        for path in folder.iterdir():
            if path.suffix == ".jsonl":
                same_as_grpc(folder, path)
            else:
                same_as_sink(folder, path)


@needs_corpus
def test_fixtures_of_flytes_own_tests_decode() -> None:
    fixtures = FLYTE / "fixtures"
    found = {path.name: len(decoded(path.read_bytes(), path.name)) for path in fixtures.iterdir()}
    counts = {"admin_task_running": 1, "ce_task": 1, "ce_workflow": 0, "propeller_inline_outputs": 1}
    counts |= {"propeller_node": 2, "propeller_wf": 1}  # ce_workflow has no time; propeller_node has a deck
    assert found == {f"{name}{suffix}": count for name, count in counts.items() for suffix in (".pb", ".json")}


@needs_corpus
def test_large_texts_are_whole_where_they_matter_and_cut_in_attributes() -> None:
    events = binary(FLYTE / "scenarios" / "huge_custom_info")
    longest = max(len(str(value)) for event in events for value in event.attributes.values())
    lengths = [event.attributes.get("flyte.custom_info.length", 0) for event in events]
    messages = [len(event.error.message) for event in events if isinstance(event, PhaseChange) and event.error]
    assert longest == 4096
    assert max(map(int, lengths)) > 200_000
    assert max(messages) > 102_400


def test_secondary_events_are_of_the_run_that_told_them() -> None:
    for case in CASES:
        for event in binary(GOLDEN / case):
            assert isinstance(event, PhaseChange) or (isinstance(event, Log | Report) and ":" in event.id)
