"""Laws of writing: the last one wins, whatever the batches; logs are all kept; counts and summaries are exact."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.clearml_server.store import LOG, SCALAR, Owner, SqliteStore, Summary
from tests.clearml_server.store.naive import NOW, TASK, events, fresh, key, returned, scalars, stored

Event = dict[str, Any]


def everything(store: SqliteStore) -> list[Event]:
    series = store.events.series([TASK])
    page = store.events.page(series, limit=100_000)
    assert page.total == len(page.events) == sum(s.events for s in series)
    return page.events


def canonical(events: list[Event]) -> list[str]:
    dropped = ("@timestamp", "model_event")
    return sorted(json.dumps({n: e[n] for n in e if n not in dropped}, sort_keys=True) for e in events)


@given(st.lists(st.lists(events, max_size=8), max_size=6))
def test_what_is_read_is_the_last_of_each_key_and_every_line(batches: list[list[Event]]) -> None:
    with fresh() as store:
        for batch in batches:
            assert store.events.add(batch, worker="w", now_ms=NOW).added == len(batch)
        assert canonical(everything(store)) == canonical(stored([event for batch in batches for event in batch]))


@given(st.lists(scalars, max_size=12), st.integers(1, 12))
def test_batches_make_no_difference_to_events_and_counts(sent: list[Event], size: int) -> None:
    with fresh() as single, fresh() as many:
        single.events.add(sent, worker="w", now_ms=NOW)
        for start in range(0, len(sent), size):
            many.events.add(sent[start : start + size], worker="w", now_ms=NOW)
        assert canonical(everything(single)) == canonical(everything(many))
        fields = [
            [(s.metric, s.variant, s.events, s.top, s.time) for s in store.events.series([TASK])]
            for store in (single, many)
        ]
        assert fields[0] == fields[1]


@given(st.lists(st.lists(scalars, max_size=6), max_size=4))
def test_statistics_are_of_every_value_received(batches: list[list[Event]]) -> None:
    with fresh() as store:
        for batch in batches:
            store.events.add(batch, worker="w", now_ms=NOW)
        received: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for event in (event for batch in batches for event in batch):
            if event["value"] is not None:
                received.setdefault((event["metric"], event["variant"]), []).append(
                    (returned(event).get("iter") or 0, _stored(event["value"]))
                )
        statistics = {(s.metric, s.variant): s.stats for s in store.events.series([TASK], (SCALAR,)) if s.stats}
        assert statistics.keys() == received.keys()
        for name, stats in statistics.items():
            values = [value for _, value in received[name]]
            assert (stats.min, stats.max, stats.count) == (min(values), max(values), len(values))
            assert (stats.first_iter, stats.value_iter) == (min(received[name])[0], max(received[name])[0])
            assert stats.total == pytest.approx(sum(values))


def _stored(value: float) -> float:
    return value if abs(value) < 2**63 else float(value)


def test_names_that_join_to_the_same_text_are_different_series(store: SqliteStore) -> None:
    point = {"type": SCALAR, "task": "t", "iter": 1, "timestamp": NOW}
    sent = [
        point | {"metric": "a-b", "variant": "c", "value": 1},
        point | {"metric": "a", "variant": "b-c", "value": 2},
    ]
    store.events.add(sent, worker="w", now_ms=NOW)
    assert [event["value"] for event in everything(store)] == [2, 1]
    assert key(sent[0]) != key(sent[1])


def test_a_model_and_a_task_of_one_id_are_two(store: SqliteStore) -> None:
    point = {"type": SCALAR, "task": "t", "metric": "m", "variant": "v", "iter": 1, "timestamp": NOW}
    store.events.add([point | {"value": 1}, point | {"value": 2, "model_event": True}], worker="w", now_ms=NOW)
    [task], [model] = store.events.series([TASK]), store.events.series([Owner("t", model=True)])
    assert [store.events.page([series]).events[0]["value"] for series in (task, model)] == [1, 2]


def test_the_summary_of_a_task(store: SqliteStore) -> None:
    def point(metric: str, iteration: int, value: float, **more: object) -> Event:
        return {"type": SCALAR, "task": "t", "metric": metric, "variant": "v", "iter": iteration, "value": value} | more

    first = [point("m", 0, 10), point("m", 1, 9), point(":monitor:machine", 900, 1)]
    store.events.add(first, worker="w", now_ms=NOW)
    store.events.add([point("m", 0, 100), point("m", 7, -3, x_axis_label="Epoch")], worker="w", now_ms=NOW + 5)
    summary = store.events.summary(TASK)
    assert (summary.last_iteration, summary.last_update) == (7, NOW + 5)
    assert list(summary.last_metrics) == sorted(summary.last_metrics)
    assert summary.last_metrics["6f8f57715090da2632453988d9a1501b"] == {
        "9e3669d19b675bd57058fd4664205d2a": {
            "metric": "m",
            "variant": "v",
            "value": -3,
            "min_value": -3,
            "min_value_iteration": 7,
            "max_value": 100,
            "max_value_iteration": 0,
            "first_value": 10.0,
            "first_value_iteration": 0,
            "count": 4,
            "mean_value": 29.0,
            "x_axis_label": "Epoch",
        }
    }
    assert summary.metric_stats["6f8f57715090da2632453988d9a1501b"] == {
        "metric": "m",
        "event_stats_by_type": {SCALAR: {"last_update": NOW + 5}},
    }
    assert store.events.summary(Owner("nobody")) == Summary()


def test_an_older_iteration_in_a_later_batch_is_not_the_newest_value(store: SqliteStore) -> None:
    for iteration, value in ((5, 1.0), (2, 2.0), (5, 3.0)):
        event = {"type": SCALAR, "task": "t", "metric": "m", "variant": "v", "iter": iteration, "value": value}
        store.events.add([event], worker="w", now_ms=NOW)
    [series] = store.events.series([TASK])
    assert series.stats is not None
    assert (series.stats.value, series.stats.value_iter) == (3.0, 5)
    assert [newest and newest["value"] for newest in store.events.points([series])] == [3.0]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"value": float("nan")}, "value must be a finite number"),
        ({"value": float("-inf")}, "value must be a finite number"),
        ({"value": "1.5"}, "value must be a number"),
        ({"value": True}, "value must be a number"),
        ({"value": [1]}, "value must be a number"),
        ({"iter": "abc"}, "iter must be an integer"),
        ({"iter": "9" * 5000}, "iter is beyond 64 bits"),
        ({"iter": float("inf")}, "iter must be an integer"),
        ({"iter": 2**63}, "iter is beyond 64 bits"),
        ({"iter": {}}, "iter must be an integer"),
        ({"timestamp": "yesterday"}, "timestamp must be a number of milliseconds"),
        ({"timestamp": 1e300}, "timestamp is beyond 64 bits"),
        ({"timestamp": float("nan")}, "timestamp is beyond 64 bits"),
        ({"metric": ["m"]}, "metric and variant must be strings"),
        ({"metric": 5}, "metric must be a string"),
        ({"variant": "v" * 1025}, "variant is longer than 1024 characters"),
        ({"metric": "a\x00b"}, "metric holds a NUL character"),
        ({"metric": "\ud800"}, "the event cannot be written as JSON"),
        ({"extra": "\ud800"}, "the event cannot be written as JSON"),
        ({"extra": [{"deep": float("nan")}]}, "NaN and infinity are no JSON"),
        ({"worker": 5}, "worker must be a string"),
        ({"type": "training_stats_vector", "values": [1, "x"]}, "values must be a list of numbers"),
        ({"type": "plot", "plot_str": {}}, "plot_str must be a string"),
        ({"type": "training_debug_image", "url": 5}, "url must be a string"),
    ],
)
def test_one_bad_event_is_refused_and_the_others_are_kept(
    store: SqliteStore, fields: dict[str, object], reason: str
) -> None:
    good = {"type": SCALAR, "task": "t", "metric": "m", "variant": "v", "iter": 1, "value": 0.1, "timestamp": NOW}
    added = store.events.add([good, good | fields, good | {"iter": 2}], worker="w", now_ms=NOW)
    assert (added.added, added.refused) == (2, {reason: 1})
    assert [event["iter"] for event in everything(store)] == [1, 2]


def test_lone_surrogates_are_refused_in_every_text(store: SqliteStore) -> None:
    for fields in ({"worker": "\ud800"}, {"x_axis_label": "\ud800"}, {"variant": "\ud800"}):
        event: Event = {"type": SCALAR, "task": "t", "metric": "m", "variant": "v", "iter": 1, "value": 1}
        event |= fields
        assert store.events.add([event], worker="w", now_ms=NOW).refused == {"the event cannot be written as JSON": 1}
    assert store.events.series([TASK]) == []


def test_ten_thousand_metrics_each_with_its_events_and_two_thousand_with_statistics(store: SqliteStore) -> None:
    sent = [
        {"type": SCALAR, "task": "t", "metric": f"m{n}", "variant": "v", "iter": 0, "value": n} for n in range(10_000)
    ]
    assert store.events.add(sent, worker="w", now_ms=NOW).added == 10_000
    assert len(store.events.series([TASK])) == 10_000
    assert len(store.events.summary(TASK).last_metrics) == 2_000
    assert len(store.events.points(store.events.series([TASK]))) == 10_000


def test_a_large_plot_comes_back_whole_with_its_links(store: SqliteStore) -> None:
    text = json.dumps({"layout": {"images": [{"source": "https://files/x.png"}]}, "data": list(range(100_000))})
    plot = {"type": "plot", "task": "t", "metric": "p", "variant": "v", "iter": 1, "plot_str": text, "timestamp": NOW}
    store.events.add([plot], worker="w", now_ms=NOW)
    [report] = store.events.reports(store.events.series([TASK]))
    assert report["plot_str"] == text
    assert (report["plot_len"], report["source_urls"]) == (len(text), ["https://files/x.png"])


def test_times_and_workers_that_are_missing_are_filled_in(store: SqliteStore) -> None:
    own: Event = {"type": LOG, "task": "t", "msg": "b", "ts": 5, "worker": "own"}
    sent: list[Event] = [{"type": LOG, "task": "t", "msg": "a"}, own]
    store.events.add(sent, worker="w", now_ms=NOW)
    page, _ = store.events.log(TASK, descending=True)
    assert [(line["timestamp"], line["worker"], line["@timestamp"]) for line in page.events] == [
        (NOW, "w", "2023-11-14T22:13:20.000Z"),
        (5, "own", "2023-11-14T22:13:20.000Z"),
    ]
