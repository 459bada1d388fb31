"""Scalars as ClearML's readers see them: histograms, raw points in pages, latest and single values, names."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.clearml_server.api.reads.intervals import intervals
from otel_events.clearml_server.store import SINGLE_VALUE, Bounds
from tests.clearml_server.asking import NOW, asking, line, plot, scalar
from tests.clearml_server.store.naive import buckets

spans = st.builds(
    lambda points, low, reach: Bounds(points, low, low + reach) if points else Bounds(0, None, None),
    st.integers(0, 10_000),
    st.integers(-1000, 1000),
    st.integers(0, 100_000),
)


@given(st.lists(spans, max_size=120), st.integers(1, 6000))
def test_intervals_are_never_finer_than_asked_and_at_most_a_tenth_coarser(bounds: list[Bounds], samples: int) -> None:
    for of, width in zip(bounds, intervals(bounds, samples), strict=True):
        if of.low is None or of.high is None:
            continue
        alone = 1 if of.points < samples else -(-(int(of.high) - int(of.low) + 1) // samples)
        assert alone <= width <= alone + alone // 10


def test_series_of_near_intervals_share_the_greatest() -> None:
    near = [Bounds(1000, 0, 999), Bounds(1000, 0, 1059), Bounds(1000, 0, 1149), Bounds(5, 0, 4)]
    assert intervals(near, 100) == [11, 11, 12, 1], "10 and 11 share, 12 is more than a tenth off"


def test_a_group_holds_fifty_series_and_six_thousand_buckets() -> None:
    many = [Bounds(1000, 0, 999)] * 50 + [Bounds(1000, 0, 1089)]
    assert intervals(many, 100) == [10] * 50 + [11]
    full = [Bounds(10_000, 0, 9_999)] * 3 + [Bounds(10_000, 0, 10_999)]
    assert intervals(full, 1_000) == [11] * 4
    assert intervals([Bounds(60_000, 0, 59_999), Bounds(60_000, 0, 65_999)], 6_000) == [10, 11], "6,000 + 6,000 buckets"


@given(
    st.dictionaries(
        st.sampled_from(["a", "b"]), st.dictionaries(st.integers(-40, 400), st.floats(-10, 10), min_size=1)
    ),
    st.integers(1, 60),
)
def test_the_histogram_is_the_plain_one(series: dict[str, dict[int, float]], samples: int) -> None:
    with asking() as ask:
        ask.add(*(scalar(at, value, variant=name) for name, points in series.items() for at, value in points.items()))
        bounds = [Bounds(len(points), min(points), max(points)) for _, points in sorted(series.items())]
        expected = {}
        for (name, points), width in zip(sorted(series.items()), intervals(bounds, samples), strict=True):
            plain = buckets(points.items(), width)
            y = [pytest.approx(value, rel=1e-6, abs=1e-12) for value in plain.values()]
            expected[name] = {"name": name, "x": list(plain), "y": y}
        answer = ask("scalar_metrics_iter_histogram", task="t", samples=samples)
        assert answer == ({"m": expected} if expected else {})


def test_axes_labels_and_filters_of_histograms() -> None:
    with asking() as ask:
        ask.add(scalar(1, 0.1, x_axis_label="Epoch"), scalar(SINGLE_VALUE, 5, "Summary"), scalar(None, 3, "no iter"))
        ask.add(scalar(2, None, "null"))
        answer = ask("scalar_metrics_iter_histogram", task="t")
        assert answer["m"]["v"] == {"name": "v", "x": [1], "y": [0.10000000149011612], "x_axis_label": "Epoch"}
        assert answer["null"]["v"]["y"] == [None]
        assert answer.keys() == {"m", "null"}
        by_time = ask("scalar_metrics_iter_histogram", task="t", key="iso_time")
        assert by_time["no iter"]["v"]["x"] == ["2023-11-14T22:13:20.000Z"]
        assert "Summary" not in by_time
        chosen = [{"metric": "m", "variants": ["w"]}, {"metric": "null"}]
        assert ask("scalar_metrics_iter_histogram", task="t", metrics=chosen).keys() == {"null"}


def test_histograms_of_several_tasks_name_them() -> None:
    with asking() as ask:
        ask.add(scalar(1, 1), scalar(1, 2, task="u"), scalar(3, 4, "n", task="u"))
        assert ask("multi_task_scalar_metrics_iter_histogram", tasks=["u", "t"])["metrics"] == {
            "m": {
                "v": {
                    "t": {"name": "name of t", "x": [1], "y": [1.0]},
                    "u": {"name": "name of u", "x": [1], "y": [2.0]},
                }
            },
            "n": {"v": {"u": {"name": "name of u", "x": [3], "y": [4.0]}}},
        }
        assert ask.refusal("multi_task_scalar_metrics_iter_histogram", tasks=["t"] * 101) == (400, 12)


@given(
    st.dictionaries(st.tuples(st.sampled_from("ab"), st.integers(-5, 20)), st.integers(), max_size=40),
    st.integers(1, 15),
    st.sampled_from(["iter", "timestamp", "iso_time"]),
)
def test_raw_pages_together_are_every_point_exactly(points: dict[tuple[str, int], int], batch: int, key: str) -> None:
    with asking() as ask:
        ask.add(*(scalar(at, value, variant=name, timestamp=NOW + at) for (name, at), value in points.items()))
        question: dict[str, Any] = {"task": "t", "metric": {"metric": "m"}, "key": key}
        received: list[tuple[str, int, int]] = []
        answer = ask("scalar_metrics_iter_raw", **question, batch_size=batch, count_total=True)
        field, shift = ("iter", 0) if key == "iter" else ("timestamp", NOW)
        while answer["returned"]:
            assert answer["total"] == len(points)
            assert answer["returned"] == sum(len(line["y"]) for line in answer["variants"].values())
            page = [
                (variant, x - shift, y)
                for variant, line in answer["variants"].items()
                for x, y in zip(line[field], line["y"], strict=True)
            ]
            assert not {x for _, x, _ in page} & {x for _, x, _ in received}, "a key is on one page only"
            received += page
            answer = ask("scalar_metrics_iter_raw", **question, scroll_id=answer["scroll_id"])
        assert {(name, x): y for name, x, y in received} == points
        assert len(received) == len(points)


def test_a_scroll_id_is_of_one_task_and_one_question() -> None:
    with asking() as ask:
        ask.add(scalar(1, 1), scalar(2, 1))
        raw = ask("scalar_metrics_iter_raw", task="t", metric={"metric": "m"})["scroll_id"]
        events = ask("get_task_events", task="t")["scroll_id"]
        for scroll in (events, "abc", raw[:-6], "x" * 100_000, "\u00e9"):
            refused = ask.refusal("scalar_metrics_iter_raw", task="t", metric={"metric": "m"}, scroll_id=scroll)
            assert refused == (400, 1104)
        assert ask.refusal("scalar_metrics_iter_raw", task="u", metric={"metric": "m"}, scroll_id=raw) == (400, 1104)
        assert ask.refusal("get_task_events", task="t", scroll_id=raw) == (400, 1104)


def test_metric_data_goes_on_where_it_was_for_an_hour_after_the_last_use() -> None:
    with asking() as ask:
        ask.add(*(scalar(at, at) for at in range(1_200)))
        first = ask("get_scalar_metric_data", task="t", metric="m")
        assert [event["iter"] for event in first["events"]] == list(range(1199, 699, -1))
        ask.seconds += 3000
        second = ask("get_scalar_metric_data", task="t", metric="m", scroll_id=first["scroll_id"])
        ask.seconds += 3000
        third = ask("get_scalar_metric_data", task="t", metric="m", scroll_id=second["scroll_id"])
        assert [len(page["events"]) for page in (second, third)] == [500, 200]
        ask.seconds += 3601
        old = third["scroll_id"]
        assert ask.refusal("get_scalar_metric_data", task="t", metric="m", scroll_id=old) == (400, 1104)


def test_latest_and_single_values() -> None:
    with asking() as ask:
        ask.add(scalar(0, 5), scalar(3, -1), scalar(2, 9), scalar(SINGLE_VALUE, 0.1, "Summary"), plot(50))
        assert ask("get_task_latest_scalar_values", task="t") == {
            "metrics": [{"name": "m", "variants": [{"name": "v", "last_value": -1.0, "last_10_value": -1.0}]}],
            "last_iter": 50,
            "name": None,
            "status": "created",
            "last_timestamp": NOW,
        }
        assert ask("get_task_single_value_metrics", tasks=["u", "t"])["tasks"] == [
            {
                "task": "t",
                "task_name": "name of t",
                "values": [{"metric": "Summary", "variant": "v", "value": 0.1, "timestamp": NOW}],
            }
        ]


def test_names_of_metrics() -> None:
    with asking() as ask:
        ask.add(scalar(1, 1, "b", "y"), scalar(1, 1, "b", "x"), scalar(1, 1, "C"), plot(1), line("text"))
        ask.add(scalar(1, 1, task="m", model_event=True))
        assert ask("get_scalar_metrics_and_variants", task="t") == {"metrics": {"C": ["v"], "b": ["x", "y"]}}
        assert ask("get_scalar_metrics_and_variants", task="m", model_events=True) == {"metrics": {"m": ["v"]}}
        every = ask("get_task_metrics", tasks=["t", "u"], event_type="*")["metrics"]
        assert every == [{"task": "t", "metrics": ["C", "b", "p"]}, {"task": "u", "metrics": []}]
        merged = ask("get_multi_task_metrics", tasks=["t"])["metrics"]
        assert [(metric["metric"], metric["variants"]) for metric in merged] == [
            ("", [""]), ("C", ["v"]), ("b", ["x", "y"]), ("p", ["a"])
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"task": "zz"}, (400, 101)),
        ({"task": "zz", "model_events": True}, (400, 201)),
        ({}, (400, 12)),
        ({"task": "t", "samples": 0}, (400, 12)),
        ({"task": "t", "samples": 6001}, (400, 12)),
        ({"task": "t", "key": "z"}, (400, 12)),
        ({"task": "t", "metrics": ["m"]}, (400, 12)),
        ({"task": "t", "metrics": [{"metric": 5}]}, (400, 12)),
        ({"task": "t", "metrics": [{"metric": "m", "variants": [5]}]}, (400, 12)),
        ({"task": "t", "metrics": [{"metric": "m", "variants": "v"}]}, (400, 12)),
    ],
)
def test_what_is_wrong_in_a_question_is_told(fields: dict[str, Any], code: tuple[int, int]) -> None:
    with asking() as ask:
        assert ask.refusal("scalar_metrics_iter_histogram", **fields) == code
