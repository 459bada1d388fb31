"""What single fields of ClearML's calls become: points, lines, reports, phases, links, and what stays outside."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from otel_events.intake.ingest import decode_records
from otel_events.intake.records import Record
from otel_events.model.errors import DecodeError
from otel_events.model.event import AnyEvent, Link, Log, PhaseChange, Report, Stat
from otel_events.sources import decoder
from otel_events.sources.clearml.decode import decode, tells_of_runs
from otel_events.sources.clearml.events import COUNT, LONGEST_CONTENT, LONGEST_LINE
from tests.sources.test_clearml import decoded, ends

T = 1_790_000_000.25
NS = 1_790_000_000_250_000_000


def call(endpoint: str, body: Any, data: Any = None, **more: Any) -> bytes:
    return json.dumps({"t": T, "endpoint": endpoint, "body": body, "resp": {"data": data or {}}, **more}).encode()


def batch(*events: dict[str, Any], **more: Any) -> list[AnyEvent]:
    return decode(call("events.add_batch", {"events": list(events)}, **more))


def point(at: Any, value: Any, **more: Any) -> dict[str, Any]:
    event = {"type": "training_stats_scalar", "task": "t", "metric": "loss", "variant": "train", "iter": at}
    return {**event, "value": value, "timestamp": 1_790_000_000_000 + (at if type(at) is int else 0)} | more


def test_a_series_of_a_batch_is_its_last_value_and_how_many_there_were() -> None:
    loss, other, counted = batch(point(1, 0.5), point(3, 0.25), point(2, 2), point(1, 7, variant="val"))
    assert isinstance(loss, Stat)
    assert (loss.name, loss.value, loss.step, loss.type) == ("loss/train", 0.25, 3, "scalar")
    assert loss.time == 1_790_000_000_003_000_000
    assert (loss.tags, loss.run.id) == ({"metric": "loss", "variant": "train"}, "t")
    assert [loss.attributes[f"clearml.{name}"] for name in ("count", "min", "max")] == [3, 0.25, 2]
    assert isinstance(other, Stat)
    assert other.name == "loss/val"
    assert isinstance(counted, Stat)
    assert (counted.name, counted.value, counted.type) == (COUNT, 4, "counter")


def test_the_same_batch_again_is_the_same_events_and_another_is_not() -> None:
    first, again, other = batch(point(1, 0.5)), batch(point(1, 0.5)), batch(point(1, 0.75))
    assert [event.id for event in first] == [event.id for event in again]
    assert not {event.id for event in first} & {event.id for event in other}


@pytest.mark.parametrize("value", [None, "1.5", True, [1], float("nan"), float("inf")])
def test_what_is_no_number_is_no_point_and_costs_no_other(value: Any) -> None:
    record = call("events.add_batch", {"events": [point(1, value), point(2, 1.0)]})
    if isinstance(value, float):
        with pytest.raises(DecodeError):
            decode(record)  # no JSON: the gateway's own API and tee write null
    else:
        assert [event.value for event in decode(record) if isinstance(event, Stat)] == [1.0, 1]


@pytest.mark.parametrize(
    ("at", "step"), [("7", 7), (1.7, 1), (None, None), ("abc", None), (2**70, None), (-(2**31), None)]
)
def test_iterations_are_read_as_the_server_casts_them(at: Any, step: int | None) -> None:
    (stat, _) = batch(point(at, 1.0))
    assert isinstance(stat, Stat)
    assert stat.step == step


def test_a_models_points_are_of_no_run_and_of_the_task_in_a_session() -> None:
    alone, _ = batch(point(1, 1.0, task="m", model_event=True))
    assert (alone.run.id, alone.run.root, alone.attributes["clearml.model.id"]) == ("", "m", "m")
    inside, _ = batch(point(1, 1.0, task="m", model_event=True), task="offline-1")
    assert (inside.run.id, inside.attributes["clearml.model.id"]) == ("offline-1", "m")


def test_lines_keep_time_level_and_worker_and_repeats_in_a_batch_stay() -> None:
    line = {
        "type": "log",
        "task": "t",
        "msg": "a\rb\nc",
        "level": "ERROR",
        "worker": "w",
        "timestamp": 1_790_000_000_001,
    }
    first, two = batch(line, line)
    assert isinstance(first, Log)
    assert (first.message, first.severity, first.time) == ("a\rb\nc", 17, 1_790_000_000_001_000_000)
    assert (first.attributes, first.logger) == ({"clearml.worker": "w"}, "clearml.console")
    assert first.id != two.id
    assert [event.id for event in batch(line)] == [first.id]
    (long,) = batch({"type": "log", "task": "t", "msg": "x" * (LONGEST_LINE + 1)}, worker="w-2")
    assert isinstance(long, Log)
    assert (len(long.message), long.attributes["clearml.log.length"]) == (LONGEST_LINE, LONGEST_LINE + 1)
    assert (long.time, long.attributes["clearml.worker"]) == (NS, "w-2")


def test_plots_images_and_vectors_are_reports() -> None:
    common = {"task": "t", "metric": "m", "variant": "v", "iter": 3}
    plot, image, vector, large = batch(
        {**common, "type": "plot", "plot_str": '{"data": []}'},
        {**common, "type": "training_debug_image", "url": "http://files/a.png?x=1", "key": "k"},
        {**common, "type": "training stats vector", "values": [1, 2.5]},
        {**common, "type": "plot", "plot_str": "x" * (LONGEST_CONTENT + 1)},
    )
    reports = [
        (sent.name, sent.media_type, sent.uri, sent.content, sent.step)
        for sent in (plot, image, vector, large)
        if isinstance(sent, Report)
    ]
    assert reports == [
        ("m/v", "application/vnd.plotly.v1+json", "", '{"data": []}', 3),
        ("m/v", "image/png", "http://files/a.png?x=1", "", 3),
        ("m/v", "application/json", "", "[1,2.5]", 3),
        ("m/v", "application/vnd.plotly.v1+json", "", "", 3),
    ]
    assert large.attributes["clearml.report.length"] == LONGEST_CONTENT + 1


def test_what_the_server_refused_of_a_batch_is_told() -> None:
    data = {"added": 1, "errors": 3, "errors_info": {"Invalid task id zz": 2, "Invalid event type q": 1}}
    *_, refused = decode(call("events.add_batch", {"events": [point(1, 1.0)]}, data))
    assert isinstance(refused, Log)
    assert (refused.severity, refused.run.id) == (13, "t")
    assert refused.message == "events refused: Invalid event type q (1), Invalid task id zz (2)"


def test_one_plain_object_is_a_batch_too() -> None:
    alone = decode(call("events.add", point(1, 1.0)))
    assert [event.name for event in alone if isinstance(event, Stat)] == ["loss/train", COUNT]
    assert [event.run for event in decode(call("events.add_batch", point(1, 1.0)))] == [event.run for event in alone]


def at(second: int, endpoint: str, status: str) -> bytes:
    fields = {"status": status, "status_changed": f"2026-11-21T00:00:{second:02}.5"}
    return call(endpoint, {"task": "t", "name": "n"}, {"id": "t", "fields": fields})


STOPPED = [at(1, "tasks.enqueue", "queued"), at(2, "tasks.started", "in_progress"), at(3, "tasks.stopped", "stopped")]


def test_what_ended_begins_again_when_it_is_queued_or_started_once_more() -> None:
    assert ends(decoded(STOPPED)) == [("n", 1, "cancelled")]
    queued = [
        at(4, "tasks.enqueue", "queued"),
        at(5, "tasks.started", "in_progress"),
        at(6, "tasks.publish", "published"),
    ]
    assert ends(decoded(STOPPED + queued)) == [("n", 1, "cancelled"), ("n", 2, "succeeded")]
    continued = [at(4, "tasks.started", "in_progress"), at(6, "tasks.completed", "completed")]
    assert ends(decoded(STOPPED + continued)) == [("n", 1, "cancelled"), ("n", 2, "succeeded")]


def test_a_reset_before_the_start_is_no_attempt_and_one_while_it_runs_ends_it() -> None:
    waiting = [at(1, "tasks.create", "created"), at(2, "tasks.reset", "created"), at(3, "tasks.started", "in_progress")]
    twice = [at(4, "tasks.started", "in_progress"), at(6, "tasks.completed", "completed")]
    assert ends(decoded(waiting + twice)) == [("n", 1, "succeeded")]
    thrown_away = [at(4, "tasks.reset", "created"), at(5, "tasks.started", "in_progress")]
    assert ends(decoded(waiting + thrown_away)) == [("n", 1, "failed"), ("n", 2, "")]


def test_a_parent_groups_and_a_clone_follows() -> None:
    (created,) = decode(call("tasks.create", {"name": "step", "parent": "p", "tags": ["a", "b"]}, {"id": "t"}))
    assert created.links == (Link("launched_by", "p", "task", "p"),)
    assert (created.run.root, created.run.parent, created.attributes["clearml.task.tags"]) == ("t", None, "a,b")
    (clone,) = decode(call("tasks.clone", {"task": "o", "new_task_name": "c", "new_task_parent": "p"}, {"id": "t"}))
    assert clone.links == (Link("launched_by", "p", "task", "p"), Link("follows", "o", "task", "o"))
    assert clone.run.name == "c"


def test_a_call_for_many_tasks_tells_of_those_that_were_done() -> None:
    done = {"succeeded": [{"id": "a", "fields": {"status": "stopped"}}, {"id": "b"}], "failed": [{"id": "c"}]}
    events = decode(call("tasks.stopped_many", {"ids": ["a", "b", "c"]}, done))
    assert [(event.run.id, event.phase) for event in events if isinstance(event, PhaseChange)] == [
        ("a", "cancelled"),
        ("b", "cancelled"),
    ]


def test_other_calls_for_several_tasks_are_logs_of_each() -> None:
    events = decode(call("tasks.archive", {"tasks": ["a", "b"], "status_reason": "old"}))
    assert [(event.run.id, event.message) for event in events if isinstance(event, Log)] == [
        ("a", "tasks.archive: status_reason"),
        ("b", "tasks.archive: status_reason"),
    ]
    assert len({event.id for event in events}) == 2


def test_a_task_that_was_made_without_a_name_for_it_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"the answer of tasks\.create names no `id`"):
        decode(call("tasks.create", {"name": "n"}, {}))


def test_artifacts_and_models_are_reports_of_their_task() -> None:
    artifact = {"key": "weights", "type": "pickle", "uri": "s3://b/w", "content_size": 3}
    (report,) = decode(call("tasks.add_or_update_artifacts", {"task": "t", "artifacts": [artifact]}))
    assert isinstance(report, Report)
    assert (report.name, report.uri, report.attributes) == (
        "weights",
        "s3://b/w",
        {"clearml.artifact.type": "pickle", "clearml.artifact.size": 3},
    )
    (model,) = decode(call("models.edit", {"model": "m", "task": "t", "name": "best", "uri": "s3://b/m"}))
    assert isinstance(model, Report)
    assert (model.run.id, model.name, model.uri) == ("t", "best", "s3://b/m")


def test_inputs_and_secrets_stay_outside() -> None:
    body = {
        "task": "t",
        "name": "n",
        "script": {"diff": "KEY = 'canary-1'"},
        "hyperparams": {"General": {"x": "canary-2"}},
    }
    line = {"type": "log", "task": "t", "msg": "password=canary-3 done"}
    records = [call("tasks.edit", body), call("events.add_batch", {"events": [line]})]
    events = decode_records("clearml", decode, [Record(body) for body in records]).events
    encoded = b"".join(map(msgspec.json.encode, events))
    assert b"canary" not in encoded
    edit, log = events
    assert isinstance(edit, Log)
    assert isinstance(log, Log)
    assert (edit.message, log.message) == ("tasks.edit: hyperparams, name, script", "password=[redacted] done")


def test_what_only_reads_or_was_refused_tells_nothing() -> None:
    assert decode(call("tasks.get_all", {"task": "t"})) == []
    assert decode(call("tasks.started", {"task": "t"}, status=400)) == []
    assert not tells_of_runs("events.get_task_log")
    assert not tells_of_runs("auth.login")


@pytest.mark.parametrize(
    "record", [b"", b"[]", b"{}", b'{"t":1}', b'{"t":-1,"endpoint":"tasks.started"}', b'{"t":"x","endpoint":"a"}']
)
def test_what_is_no_call_is_refused_with_what_to_do(record: bytes) -> None:
    with pytest.raises(DecodeError, match=r"not a ClearML record: .*; give one HTTP call"):
        decode(record)


def test_the_source_is_found_by_its_name() -> None:
    assert decoder("clearml") is decode


def test_a_call_that_left_the_status_as_it_was_is_no_phase() -> None:
    (event,) = decode(call("tasks.dequeue", {"task": "t"}, {"dequeued": 1, "updated": 0, "fields": {}}))
    assert isinstance(event, Log)
    (back,) = decode(call("tasks.dequeue", {"task": "t"}, {"updated": 1, "fields": {"status": "stopped"}}))
    assert isinstance(back, PhaseChange)
    assert (back.phase, back.native) == ("cancelled", "stopped")
