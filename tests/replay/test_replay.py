"""Replay: the same bytes however the input is shuffled, repeated, cut or begun again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from otel_events.core.metrics import Metrics
from otel_events.intake.records import Record, Refused
from otel_events.journal import Journal
from otel_events.model.errors import ConfigError, ExportError
from otel_events.model.event import AnyEvent, Stat
from otel_events.otlp import from_env
from otel_events.otlp.config import Protocol
from otel_events.replay.replay import BATCH, replay
from otel_events.replay.sinks import FileSink, OtlpSink
from otel_events.testing import Answer, CaptureServer
from tests.gateway import kit
from tests.gateway.kit import NOON, change, golden, line, recorded, replayed, run_of

MIXED = (("flyte", "retries_user_then_system"), ("flyte", "aborted"), ("flyte", "dynamic_node"))


def mixed() -> list[Record]:
    """The records of several traces, one after the other."""
    return [record for source, name in MIXED for record in golden(source, name)]


def files(out: Path, records: list[Record | Refused] | list[Record], journal: Path | None = None) -> dict[str, bytes]:
    """The files that a replay of Flyte records writes."""
    with Journal.open(journal) if journal else Journal.temporary() as kept:
        replay("flyte", records, journal=kept, sink=FileSink(out, from_env({})), metrics=Metrics())
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_order_and_repeats_leave_no_trace(tmp_path: Path) -> None:
    records, rng = mixed(), random.Random(5)
    expected = files(tmp_path / "once", records)
    assert all(expected[name] for name in ("traces.jsonl", "logs.jsonl", "metrics.prom"))
    for number in range(5):
        shuffled = rng.sample(records, len(records)) + rng.choices(records, k=len(records))
        rng.shuffle(shuffled)
        assert files(tmp_path / str(number), shuffled) == expected


def test_a_replay_that_was_cut_off_is_made_again_over_the_same_journal(tmp_path: Path) -> None:
    records = mixed()
    expected = files(tmp_path / "whole", records)

    def broken() -> list[Record]:
        return records[: len(records) // 2]

    files(tmp_path / "half", broken(), tmp_path / "kept.db")
    assert files(tmp_path / "again", records, tmp_path / "kept.db") == expected


def test_more_than_one_transaction(tmp_path: Path) -> None:
    run = run_of("w", kind="workflow")
    events: list[AnyEvent] = [line(run, str(number), number) for number in range(BATCH * 2 + 10)]
    kept, _, summary = replayed("events", recorded([change(run, "running", -1), *events]))
    assert (summary.records, summary.events) == (BATCH * 2 + 11,) * 2
    assert [one.body for one in kept.logs] == ["RUNNING", *(str(number) for number in range(len(events)))]


def test_the_summary_and_the_dead(tmp_path: Path) -> None:
    run = run_of("w", kind="workflow")
    good = recorded([change(run, "running", 1), change(run_of("v", kind="workflow"), "succeeded", 1)])
    given: list[Record | Refused] = [
        *good,
        *good,
        Record(b"{}", "", "here:3"),
        Refused("there:4", "too long", b"head", 10**9),
    ]
    kept, metrics, summary = replayed("events", given)
    found = (summary.records, summary.events, summary.duplicates, summary.roots, summary.spans, summary.incomplete)
    assert found == (6, 4, 2, 2, 2, 1)
    assert summary.logs == len(kept.logs) == 2
    assert [(one.where, one.length) for one in summary.dead] == [("here:3", 2), ("there:4", 10**9)]
    assert kept.dead == summary.dead
    [received] = [one for one in metrics.collect(0) if one.name == "otel_events_records_received_total"]
    assert [point.value for point in received.points] == [6.0]  # type: ignore[union-attr]  # a counter


def test_late_is_what_the_source_dated_after_the_outcome() -> None:
    run = run_of("w", kind="workflow")
    late = Stat(id="s", time=NOON + 3 * kit.SECOND, run=run, name="loss", value=1.0)
    events: list[AnyEvent] = [change(run, "running", 1), change(run, "succeeded", 2), line(run, "afterwards", 3), late]
    kept, metrics, _ = replayed("events", recorded(events))
    assert [one.body for one in kept.logs if one.attributes.get("otel_events.late")] == ["loss = 1.0", "afterwards"]
    [loss] = [one for one in metrics.collect(0) if one.name == "otel_events_stat_loss"]
    assert [point.value for point in loss.points] == [1.0]  # type: ignore[union-attr]  # a gauge


def test_no_span_hangs_under_one_that_never_came() -> None:
    root = run_of("w", kind="workflow")
    child = run_of("w/n/t", "w", parent="w/n", parent_kind="node")
    kept, _, _ = replayed("events", recorded([change(root, "running", 1), change(child, "running", 2)]))
    top, below = kept.spans
    assert below.parent_span_id == top.span_id


def test_an_unknown_source_is_told() -> None:
    with pytest.raises(ConfigError, match="no source named"):
        replayed("nobody", [])


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_the_collector_gets_what_the_files_hold(protocol: Protocol, collector: CaptureServer) -> None:
    sink = OtlpSink(from_env(collector.environ(protocol)), environ={})
    with Journal.temporary() as journal:
        summary = replay("flyte", mixed(), journal=journal, sink=sink, metrics=Metrics())
    sink.close()
    kept, _, _ = replayed("flyte", mixed())
    assert kit.once(collector) == kept.raw()
    assert len(collector.logs()) == summary.logs == len(kept.logs)
    assert any(one.name == "otel_events_runs_total" for one in collector.metrics())


def test_one_root_larger_than_the_queue_arrives_whole(
    collector: CaptureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of("w", kind="workflow")
    events: list[AnyEvent] = [change(run, "running", -1), *(line(run, f"{number}", number) for number in range(1600))]
    sink = OtlpSink(from_env(collector.environ("http/protobuf")), environ={})
    for lane in sink._delivery._exporter._lanes.values():
        monkeypatch.setattr(lane, "_limit", 1)
    with Journal.temporary() as journal:
        replay("events", recorded(events), journal=journal, sink=sink, metrics=Metrics())
    sink.close()
    assert [one.body for one in collector.logs()] == ["RUNNING", *(str(number) for number in range(1600))]


def test_a_collector_that_takes_nothing_ends_the_replay_with_the_reason() -> None:
    with CaptureServer() as server:
        environ = server.environ("http/protobuf")
    sink = OtlpSink(from_env(environ), patience=0.2, environ={})
    with Journal.temporary() as journal, pytest.raises(ExportError, match=r"gave up after 0\.2 s .*; look at .*--out"):
        replay("flyte", mixed(), journal=journal, sink=sink, metrics=Metrics())
    sink.close()


def test_telemetry_that_is_refused_for_good_is_an_error(collector: CaptureServer) -> None:
    collector.answers.append(Answer(http=400, message="unknown tenant"))
    sink = OtlpSink(from_env(collector.environ("http/protobuf")), environ={})
    with Journal.temporary() as journal, pytest.raises(ExportError, match="refused for good"):
        replay("flyte", mixed(), journal=journal, sink=sink, metrics=Metrics())
    sink.close()


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "out"
    before = files(out, golden("flyte", "aborted"))
    sink = FileSink(out, from_env({}))
    with Journal.temporary() as journal, pytest.raises(RuntimeError, match="half way"):
        replay("flyte", cut(mixed()), journal=journal, sink=sink, metrics=Metrics())
    sink.close()
    assert {name: (out / name).read_bytes() for name in FileSink.NAMES} == before


def cut(records: list[Record]) -> list[Record]:
    class Cut(list[Record]):
        def __iter__(self):  # type: ignore[no-untyped-def]  # an input that breaks
            yield records[0]
            raise RuntimeError("half way")

    return Cut()
