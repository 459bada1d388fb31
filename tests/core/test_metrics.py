"""The metric families: what is counted, in any order, within its caps, under one name on every path."""

from __future__ import annotations

import doctest
import math
import random
import re
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from otel_events.core.exposition import exposition
from otel_events.core.metrics import COMMON, Family, Metrics, all_families, families_table
from otel_events.core.metrics.families import MAGNITUDES, OTHER, SECONDS
from otel_events.core.metrics.text import UNITS, clean, sample_names, stat_family, tag_labels
from otel_events.model.declared import all_traits
from otel_events.model.errors import ConfigError, JournalError
from otel_events.model.event import OUTCOMES, Run, Stat
from otel_events.model.telemetry import Exemplar, HistogramPoint, MetricData, Point

FAMILIES = all_families(all_traits())

NOW = 1_790_000_000_000_000_000
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
RUN = Run("flyte", "task", "id", "train", "root", namespace="p/d", workflow="nightly")


def exemplar(at: int, span: bytes = b"s" * 8, value: float = 1.5) -> Exemplar:
    return Exemplar(value, NOW + at, b"t" * 16, span)


def families(metrics: Metrics) -> dict[str, MetricData]:
    return {data.name: data for data in metrics.collect(NOW)}


def values(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Label values -> value, of a counter or gauge."""
    return {point.labels: point.value for point in families(metrics)[name].points if isinstance(point, Point)}


def histogram(metrics: Metrics, name: str) -> HistogramPoint:
    [point] = families(metrics)[name].points
    assert isinstance(point, HistogramPoint)
    return point


def stat(name: str = "loss", value: float = 1.0, **fields: object) -> Stat:
    return msgspec.structs.replace(Stat(id="e", time=NOW, run=RUN, name=name, value=value), **fields)


def shown(metrics: Metrics) -> bytes:
    """All that a scrape shows, exemplars too."""
    return exposition(metrics, OPENMETRICS, NOW)[0]


# --- runs -------------------------------------------------------------------------------------------------------------


def test_outcome_series_start_at_0_and_are_not_reset() -> None:
    metrics = Metrics()
    labels = metrics.runs.labels(RUN)
    metrics.runs.run_finished(labels, "failed", 1.0, None, NOW)
    metrics.runs.seen(RUN)
    metrics.runs.seen(RUN)
    runs, attempts = values(metrics, "otel_events_runs_total"), values(metrics, "otel_events_attempts_total")
    assert {key[-1] for key in runs} == {*OUTCOMES, "incomplete"}
    assert {key[-2:] for key in attempts} == {(outcome, "") for outcome in (*OUTCOMES, "incomplete")}
    assert {key: value for key, value in runs.items() if value} == {(*labels, "failed"): 1.0}
    assert labels == ("flyte", "p/d", "nightly", "task", "train")


def test_a_finished_run_counts_in_four_families() -> None:
    metrics = Metrics()
    labels = metrics.runs.labels(RUN)
    metrics.runs.run_finished(labels, "succeeded", 1.5, 0.25, NOW, exemplar(0, value=9.0))
    metrics.runs.run_finished(labels, "succeeded", 90_000.0, None, NOW - 5, None)
    assert values(metrics, "otel_events_runs_total") == {(*labels, "succeeded"): 2.0}
    assert values(metrics, "otel_events_last_success_timestamp_seconds") == {labels: NOW / 1e9}
    duration = histogram(metrics, "otel_events_run_duration_seconds")
    assert (duration.labels, duration.count, duration.sum) == ((*labels, "succeeded"), 2, 90_001.5)
    assert duration.bounds == SECONDS
    assert [at for at, count in enumerate(duration.buckets) if count] == [SECONDS.index(2.5), len(SECONDS)]
    assert duration.exemplars == [exemplar(0, value=1.5)]
    queue = histogram(metrics, "otel_events_queue_duration_seconds")
    assert (queue.labels, queue.count, queue.sum) == (labels, 1, 0.25)
    assert queue.exemplars == [exemplar(0, value=0.25)]


def test_a_run_that_never_ran_or_failed_adds_no_duration_and_no_success() -> None:
    metrics = Metrics()
    metrics.runs.run_finished(metrics.runs.labels(RUN), "skipped", None, None, NOW, exemplar(0))
    by_name = families(metrics)
    assert values(metrics, "otel_events_runs_total") == {(*metrics.runs.labels(RUN), "skipped"): 1.0}
    for name in ("run_duration_seconds", "queue_duration_seconds", "last_success_timestamp_seconds"):
        assert by_name[f"otel_events_{name}"].points == []


def test_clocks_that_disagree_make_no_negative_duration() -> None:
    metrics = Metrics()
    metrics.runs.run_finished(metrics.runs.labels(RUN), "failed", -3.0, -1.0, NOW)
    for name in ("run", "queue"):
        duration = histogram(metrics, f"otel_events_{name}_duration_seconds")
        assert (duration.sum, duration.buckets[0]) == (0.0, 1)


def test_a_bound_belongs_to_its_bucket() -> None:
    metrics = Metrics()
    for bound in SECONDS:
        metrics.runs.run_finished(metrics.runs.labels(RUN), "failed", bound, None, NOW)
    assert histogram(metrics, "otel_events_run_duration_seconds").buckets == [*[1] * len(SECONDS), 0]


def test_cache_and_error_kind_are_labels() -> None:
    metrics = Metrics()
    labels = metrics.runs.labels(RUN)
    metrics.runs.cache(labels, "hit")
    metrics.runs.attempt_ended(labels, "failed", "user", None)
    metrics.runs.attempt_ended(labels, "failed", "user", exemplar(0))
    assert values(metrics, "otel_events_cache_total") == {(*labels, "hit"): 1.0}
    assert values(metrics, "otel_events_attempts_total") == {(*labels, "failed", "user"): 2.0}


# --- any order --------------------------------------------------------------------------------------------------------

Step = Callable[[Metrics], None]
SECOND_VALUES = st.floats(0, 1e6) | st.sampled_from(SECONDS)
EXEMPLARS = st.none() | st.builds(
    Exemplar, SECOND_VALUES, st.integers(NOW, NOW + 3), st.just(b"t" * 16), st.sampled_from([b"a" * 8, b"b" * 8])
)


def _ended(task: str, outcome: str, blame: str, held: Exemplar | None) -> Step:
    return lambda m: m.runs.attempt_ended(m.runs.labels(run_of(task)), outcome, blame, held)


def _finished(task: str, run_s: float | None, queue_s: float | None, end: int, held: Exemplar | None) -> Step:
    return lambda m: m.runs.run_finished(m.runs.labels(run_of(task)), "succeeded", run_s, queue_s, end, held)


def _stat(task: str, reported: Stat, held: Exemplar | None) -> Step:
    return lambda m: m.runs.stat(m.runs.labels(run_of(task)), reported, held)


def run_of(task: str, source: str = "flyte") -> Run:
    return Run(source, "task", "id", task, "root", namespace="p/d", workflow="nightly")


TASKS = st.sampled_from(["a", "b"])
STATS = st.builds(
    stat,
    value=st.floats(-1e300, 1e300, allow_nan=False),
    time=st.integers(NOW, NOW + 2),
    id=st.sampled_from("efgh"),
    unit=st.sampled_from(["", "s", "ms"]),
).flatmap(
    lambda drawn: st.sampled_from([("g", "gauge"), ("c", "counter"), ("h", "histogram"), ("t", "timer")]).map(
        lambda kind: msgspec.structs.replace(drawn, name=kind[0], type=kind[1], id=f"{drawn.id}{drawn.value}")
    )
)
STEPS = st.one_of(
    st.builds(_ended, TASKS, st.sampled_from(OUTCOMES), st.sampled_from(["", "user"]), EXEMPLARS),
    st.builds(_finished, TASKS, st.none() | SECOND_VALUES, st.none() | SECOND_VALUES, st.integers(0, 9), EXEMPLARS),
    st.builds(_stat, TASKS, STATS, EXEMPLARS),
    TASKS.map(lambda task: lambda m: m.runs.seen(run_of(task))),
)


@given(steps=st.lists(STEPS, max_size=20), seed=st.integers(0, 1 << 30))
def test_no_order_of_what_happened_shows(steps: list[Step], seed: int) -> None:
    shuffled = random.Random(seed).sample(steps, len(steps))
    assert shown(replayed(steps)) == shown(replayed(shuffled))


@given(before=st.lists(STEPS, max_size=10), after=st.lists(STEPS, max_size=10))
def test_a_restart_goes_on_counting(before: list[Step], after: list[Step]) -> None:
    whole, first, second = Metrics(start=7), Metrics(start=7), Metrics(start=8)
    for metrics, steps in ((whole, [*before, *after]), (first, before)):
        for step in steps:
            step(metrics)
    second.restore(first.snapshot())
    assert shown(second) == shown(first)
    for step in after:
        step(second)
    assert shown(second) == shown(whole)
    assert second.collect(NOW)[0].start == 7


def replayed(steps: Iterable[Step]) -> Metrics:
    metrics = Metrics()
    for step in steps:
        step(metrics)
    return metrics


def test_sums_are_exact() -> None:
    metrics = Metrics()
    for value in (1e16, *[1.0] * 6):  # added one by one as floats: 1e16
        metrics.runs.stat(metrics.runs.labels(RUN), stat("x", value, type="histogram"))
    for _ in range(10):  # added as floats: 0.9999999999999999
        metrics.runs.run_finished(metrics.runs.labels(RUN), "failed", 0.1, None, NOW)
    assert histogram(metrics, "otel_events_stat_x").sum == 1e16 + 6
    assert histogram(metrics, "otel_events_run_duration_seconds").sum == 1.0


def test_a_sum_beyond_all_floats_is_infinite() -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.runs.stat(metrics.runs.labels(RUN), stat("x", 1.7e308, type="counter"))
    assert list(values(metrics, "otel_events_stat_x_total").values()) == [math.inf]
    again = Metrics()
    again.restore(metrics.snapshot())
    assert shown(again) == shown(metrics)


# --- exemplars --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_the_latest_exemplar_stays_by_time_then_span(order: int) -> None:
    metrics = Metrics()
    labels = metrics.runs.labels(RUN)
    exemplars = [exemplar(0, b"z" * 8), exemplar(1, b"a" * 8), exemplar(1, b"b" * 8)]
    for held in exemplars[::order]:
        metrics.runs.attempt_ended(labels, "failed", "", held)
        metrics.runs.run_finished(labels, "failed", 3.0, 0.001, NOW, held)
    by_name = families(metrics)
    last = exemplar(1, b"b" * 8)
    assert [point.exemplar for point in by_name["otel_events_attempts_total"].points if isinstance(point, Point)] == [
        last
    ]
    assert [point.exemplar for point in by_name["otel_events_runs_total"].points if isinstance(point, Point)] == [last]
    assert histogram(metrics, "otel_events_run_duration_seconds").exemplars == [exemplar(1, b"b" * 8, 3.0)]


def test_each_bucket_holds_its_own_exemplar() -> None:
    metrics = Metrics()
    for at, seconds in enumerate((0.001, 3.0, 0.002)):
        metrics.runs.run_finished(metrics.runs.labels(RUN), "failed", seconds, None, NOW, exemplar(at))
    held = histogram(metrics, "otel_events_run_duration_seconds").exemplars
    assert held == [exemplar(2, value=0.002), exemplar(1, value=3.0)]


# --- stats ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reported", "name", "value"),
    [
        (stat("rows", 3, type="counter"), "otel_events_stat_rows_total", 3.0),
        (stat("rows_total", 3, type="counter"), "otel_events_stat_rows_total", 3.0),
        (stat("total", 3, type="counter"), "otel_events_stat_total", 3.0),
        (stat("total rows", 3, type="counter"), "otel_events_stat_rows_total", 3.0),
        (stat("read", 3, type="counter", unit="By"), "otel_events_stat_read_bytes_total", 3.0),
        (stat("read_bytes", 3, type="counter", unit="B"), "otel_events_stat_read_bytes_total", 3.0),
        (stat("train/loss"), "otel_events_stat_train_loss", 1.0),
        (stat("loss", type="scalar", unit="1"), "otel_events_stat_loss", 1.0),
        (stat("load", unit="%"), "otel_events_stat_load_percent", 1.0),
        (stat("wait", 250, unit="ms"), "otel_events_stat_wait_milliseconds", 250.0),
        (stat("speed", unit="By/s"), "otel_events_stat_speed_bytes_per_second", 1.0),
        (stat("read bytes", unit="By/s"), "otel_events_stat_read_bytes_per_second", 1.0),
        (stat("speed", unit="tokens/s"), "otel_events_stat_speed_tokens_per_second", 1.0),
        (stat("seen", unit="{row}"), "otel_events_stat_seen", 1.0),
        (stat("seen", unit="samples"), "otel_events_stat_seen_samples", 1.0),
        (stat("größe"), "otel_events_stat_gr_e", 1.0),
        (stat("2x"), "otel_events_stat_2x", 1.0),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_stat_makes_a_family_of_its_name_unit_and_type(reported: Stat, name: str, value: float) -> None:
    metrics = Metrics()
    metrics.runs.stat(metrics.runs.labels(RUN), reported)
    assert values(metrics, name) == {metrics.runs.labels(RUN): value}


@pytest.mark.parametrize(
    ("unit", "value", "name"),
    [
        ("s", 2.5, "step"),
        ("", 2.5, "step"),
        ("ms", 2500.0, "step"),
        ("ms", 2500.0, "step_ms"),
        ("milliseconds", 2500.0, "step milliseconds"),
        ("\u00b5s", 2.5e6, "step"),
        ("ns", 2.5e9, "step"),
        ("min", 2.5 / 60, "step_seconds"),
    ],
)
def test_timers_are_histograms_of_seconds(unit: str, value: float, name: str) -> None:
    metrics = Metrics()
    metrics.runs.stat(metrics.runs.labels(RUN), stat(name, value, type="timer", unit=unit), exemplar(0))
    steps = histogram(metrics, "otel_events_stat_step_seconds")
    assert (steps.sum, steps.bounds, steps.count) == (2.5, SECONDS, 1)
    assert steps.buckets[SECONDS.index(2.5)] == 1
    assert steps.exemplars == [exemplar(0, value=2.5)]


def test_a_histogram_of_no_unit_has_buckets_by_magnitude() -> None:
    metrics = Metrics()
    for value in (0.0, 0.002, 5e6):
        metrics.runs.stat(metrics.runs.labels(RUN), stat("x", value, type="histogram"))
    point = histogram(metrics, "otel_events_stat_x")
    assert point.bounds == MAGNITUDES
    assert [at for at, count in enumerate(point.buckets) if count] == [0, 1, len(MAGNITUDES)]


def test_the_last_value_is_by_event_time_then_id() -> None:
    metrics = Metrics()
    for time, name, value in ((2, "a", 1.0), (2, "b", 2.0), (1, "z", 3.0)):
        metrics.runs.stat(metrics.runs.labels(RUN), stat("x", value, time=NOW + time, id=name))
    assert list(values(metrics, "otel_events_stat_x").values()) == [2.0]


def test_gauges_may_be_nan_or_infinite() -> None:
    metrics = Metrics()
    metrics.runs.stat(metrics.runs.labels(RUN), stat("x", math.nan))
    metrics.runs.stat(metrics.runs.labels(RUN), stat("y", -math.inf))
    assert math.isnan(next(iter(values(metrics, "otel_events_stat_x").values())))
    assert list(values(metrics, "otel_events_stat_y").values()) == [-math.inf]


@pytest.mark.parametrize(
    ("before", "refused", "reason"),
    [
        ([stat("x")], stat("x", type="counter"), "conflict"),
        ([stat("x")], stat("x", type="histogram"), "conflict"),
        ([stat("x", type="histogram")], stat("x_count"), "conflict"),
        ([stat("x_bucket")], stat("x", type="histogram"), "conflict"),
        ([stat("a"), stat("b")], stat("c"), "families"),
        ([], stat("!"), "name"),
        ([], stat("x", math.nan, type="counter"), "value"),
        ([], stat("x", -1.0, type="counter"), "value"),
        ([], stat("x", math.inf, type="histogram"), "value"),
        ([], stat("x", -1.0, type="histogram"), "value"),
        ([], stat("x", 1e308, type="timer", unit="d"), "value"),
    ],
)
def test_what_no_family_can_take_is_counted(before: Sequence[Stat], refused: Stat, reason: str) -> None:
    metrics = Metrics(stat_cap=2)
    for earlier in before:
        metrics.runs.stat(metrics.runs.labels(RUN), earlier)
    points_before = {name: data.points for name, data in families(metrics).items() if "_stat_" in name}
    metrics.runs.stat(metrics.runs.labels(RUN), refused)
    counts = values(metrics, "otel_events_refused_stats_total")
    assert {key: value for key, value in counts.items() if value} == {(reason,): 1.0}
    points = {name: data.points for name, data in families(metrics).items() if "_stat_" in name and data.points}
    assert points == points_before


def test_only_allowed_tags_become_labels() -> None:
    metrics = Metrics(tags=["split", "gpu.id"])
    metrics.runs.stat(metrics.runs.labels(RUN), stat("x", tags={"gpu.id": "0", "user": "u"}))
    data = families(metrics)["otel_events_stat_x"]
    assert data.label_names == (*COMMON, "gpu_id", "split")
    assert [point.labels[5:] for point in data.points] == [("0", "")]


@pytest.mark.parametrize("tags", [["a.b", "a_b"], ["name"], ["le"], ["job"], ["!"], ["__name__"]])
def test_tags_that_cannot_be_labels_are_named(tags: list[str]) -> None:
    with pytest.raises(ConfigError, match=re.escape(repr(tags[0]))):
        Metrics(tags=tags)


# --- labels and caps --------------------------------------------------------------------------------------------------


def test_labels_are_the_same_object_for_the_same_values() -> None:
    metrics = Metrics()
    assert metrics.runs.labels(RUN) is metrics.runs.labels(msgspec.structs.replace(RUN, id="other", attempt=3))


@given(text=st.text(st.characters(), max_size=300))
def test_label_values_are_short_and_hide_nothing(text: str) -> None:
    value = clean(text)
    assert len(value) <= 256
    assert clean(value) == value
    assert not re.search("[\x00-\x1f\x7f-\x9f\u202e\ud800-\udfff]", value)
    value.encode()


def test_control_characters_are_shown_and_long_values_cut() -> None:
    dirty = run_of("a\nb\x1b[0m\ud800" + "x" * 300)
    name = Metrics().runs.labels(dirty)[4]
    assert name.startswith("a\\nb\\x1b[0m\\ud800xxx")
    assert (len(name), name[-1]) == (256, "…")
    assert clean("größe 🚀") == "größe 🚀"


def test_past_the_cap_series_are_one_of_other_by_source() -> None:
    metrics = Metrics(cap=2)
    for number, source in enumerate(("flyte", "flyte", "flyte", "flyte", "ray")):
        labels = metrics.runs.labels(run_of(f"t{number}", source))
        for _ in range(2):
            metrics.runs.run_finished(labels, "failed", 1.0, 1.0, NOW)
    runs = values(metrics, "otel_events_runs_total")
    assert {(key[0], key[4], key[5]): value for key, value in runs.items()} == {
        ("flyte", "t0", "failed"): 2.0,
        ("flyte", "t1", "failed"): 2.0,
        ("flyte", OTHER, OTHER): 4.0,
        ("ray", OTHER, OTHER): 2.0,
    }
    overflow = values(metrics, "otel_events_label_overflow_total")
    assert {key[0] for key, value in overflow.items() if value == 6.0} == {
        "otel_events_runs_total",
        "otel_events_run_duration_seconds",
        "otel_events_queue_duration_seconds",
    }


def test_a_full_family_lets_no_series_begin_but_counts_what_happens() -> None:
    metrics = Metrics(cap=3)
    for number in range(4):
        metrics.runs.seen(run_of(f"t{number}"))
    assert len(values(metrics, "otel_events_runs_total")) == 3
    assert not any(values(metrics, "otel_events_label_overflow_total").values())


def test_sources_cannot_grow_the_series_without_end() -> None:
    metrics = Metrics(cap=1)
    for number in range(200):
        metrics.internal.late(f"source{number}")
        metrics.runs.run_finished(metrics.runs.labels(run_of("t", f"source{number}")), "failed", None, None, NOW)
    for name in ("otel_events_events_late_total", "otel_events_runs_total"):
        counts = values(metrics, name)
        assert len(counts) <= 1 + 64 + 1
        assert sum(counts.values()) == 200


def test_a_source_with_control_characters_keeps_its_count() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.internal.late("a\nb")
    assert values(metrics, "otel_events_events_late_total") == {("a\\nb",): 3.0}


# --- runs under way ---------------------------------------------------------------------------------------------------


def test_active_runs_are_counted_by_phase_and_gone_phases_stay_at_0() -> None:
    under_way: list[tuple[Run, str, int]] = [(RUN, "running", NOW), (RUN, "running", NOW - 7), (RUN, "pending", 0)]
    metrics = Metrics()
    metrics.active = lambda: [(metrics.runs.labels(run), phase, start) for run, phase, start in under_way]
    labels = metrics.runs.labels(RUN)
    assert values(metrics, "otel_events_runs_active") == {(*labels, "running"): 2.0, (*labels, "pending"): 1.0}
    assert values(metrics, "otel_events_oldest_run_start_time_seconds") == {(*labels, "running"): (NOW - 7) / 1e9}
    under_way.clear()
    assert values(metrics, "otel_events_runs_active") == {(*labels, "running"): 0.0, (*labels, "pending"): 0.0}
    assert values(metrics, "otel_events_oldest_run_start_time_seconds") == {}


def test_active_runs_past_the_cap_are_folded_and_reading_again_counts_nothing() -> None:
    metrics = Metrics(cap=1)
    metrics.active = lambda: [(metrics.runs.labels(run_of(task)), "running", NOW + at) for at, task in enumerate("cab")]
    first = shown(metrics)
    assert shown(metrics) == first
    active = values(metrics, "otel_events_runs_active")
    assert {key[4]: value for key, value in active.items()} == {"a": 1.0, OTHER: 2.0}
    oldest = values(metrics, "otel_events_oldest_run_start_time_seconds")
    assert {key[4]: value for key, value in oldest.items()} == {"a": (NOW + 1) / 1e9, OTHER: NOW / 1e9}
    assert values(metrics, "otel_events_label_overflow_total")["otel_events_runs_active",] == 2.0


# --- this process -----------------------------------------------------------------------------------------------------


def test_self_metrics() -> None:
    metrics = Metrics(build={"version": "1.2.3"})
    metrics.internal.received("flyte", 5)
    metrics.internal.appended("flyte", 3, 1)
    metrics.internal.late("flyte")
    metrics.internal.dead_letter("flyte")
    metrics.internal.dropped("disk_full", 4)
    metrics.internal.illegal(2)
    metrics.internal.journal(10, 2048, 1.5)
    by_source = {"records_received": 5.0, "events_accepted": 3.0, "events_duplicate": 1.0, "events_late": 1.0}
    for name, value in {**by_source, "dead_letters": 1.0}.items():
        assert values(metrics, f"otel_events_{name}_total") == {("flyte",): value}
    none = {(reason,): 0.0 for reason in ("journal_full_unsent", "queue_full", "retention")}
    assert values(metrics, "otel_events_dropped_total") == {("disk_full",): 4.0, **none}
    assert values(metrics, "otel_events_illegal_transitions_total") == {(): 2.0}
    for name, value in {"events": 10.0, "bytes": 2048.0, "oldest_unacked_seconds": 1.5}.items():
        assert values(metrics, f"otel_events_journal_{name}") == {(): value}
    [(version, python)] = values(metrics, "otel_events_build_info")
    assert version == "1.2.3"
    assert python.startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")


def test_a_source_starts_at_0_in_every_family_of_sources() -> None:
    metrics = Metrics()
    metrics.internal.received("ray", 0)
    for name in ("records_received", "events_accepted", "events_duplicate", "events_late", "dead_letters"):
        assert values(metrics, f"otel_events_{name}_total") == {("ray",): 0.0}


def test_exported_takes_totals_of_the_process_and_goes_on_over_restarts() -> None:
    metrics = Metrics()
    metrics.internal.exported("traces", 10, 1, 2)
    metrics.internal.exported("traces", 15, 1, 2)
    again = Metrics()
    again.restore(metrics.snapshot())
    again.internal.exported("traces", 4, 0, 1)
    sent = values(again, "otel_events_export_sent_total")
    assert sent == {("logs",): 0.0, ("metrics",): 0.0, ("traces",): 19.0}
    assert values(again, "otel_events_export_failed_total")["traces",] == 1.0
    assert values(again, "otel_events_export_retried_total")["traces",] == 3.0


@pytest.mark.parametrize("broken", [b"", b"\x81\xa5start", b"not a snapshot", b"\x93\x01\x02\x03"])
def test_bytes_that_are_no_snapshot_are_named(broken: bytes) -> None:
    with pytest.raises(JournalError, match="start at 0"):
        Metrics().restore(broken)


def test_a_family_that_changed_its_shape_starts_at_0() -> None:
    old, new = Metrics(tags=["split"]), Metrics(tags=["gpu"])
    for metrics in (old, new):
        metrics.runs.seen(RUN)
        metrics.runs.stat(metrics.runs.labels(RUN), stat("x", 5.0))
    old.internal.illegal(3)
    new.restore(old.snapshot())
    assert values(new, "otel_events_illegal_transitions_total") == {(): 3.0}
    assert list(values(new, "otel_events_stat_x")) == [(*new.runs.labels(RUN), "")]
    fresh = Metrics(tags=["gpu"])
    fresh.restore(old.snapshot())
    assert "otel_events_stat_x" not in families(fresh)


# --- readers beside the writer ----------------------------------------------------------------------------------------


def test_a_reader_in_another_thread_sees_every_histogram_whole() -> None:
    metrics, stop, seen = Metrics(), threading.Event(), 0
    interval = sys.getswitchinterval()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            labels = metrics.runs.labels(run_of(f"t{number % 500}"))
            metrics.runs.run_finished(labels, "failed", 2.0, 2.0, NOW, exemplar(number))

    writer = threading.Thread(target=write)
    sys.setswitchinterval(1e-6)
    try:
        writer.start()
        while seen < 20_000:
            for data in metrics.collect(NOW):
                for point in data.points:
                    if isinstance(point, HistogramPoint):
                        seen += 1
                        assert point.sum == 2.0 * point.count
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        writer.join()


# --- one name on every path -------------------------------------------------------------------------------------------


def translated(name: str, unit: str, monotonic: bool, gauge: bool) -> str:
    """A name after OTLP -> Prometheus with UnderscoreEscapingWithSuffixes, as prometheus/otlptranslator makes it."""
    parts = [part for part in re.split("[^A-Za-z0-9:]+", name) if part]
    main, _, per = unit.partition("/")
    word = "" if set("{}") & set(main) else UNIT_WORDS.get(main, main)
    if word and word not in parts:
        parts.append(word)
    if per and not set("{}") & set(per):
        parts.append(f"per_{PER_WORDS.get(per, per)}")
    if monotonic:
        parts = [*(part for part in parts if part != "total"), "total"]
    if gauge and unit == "1":
        parts = [*(part for part in parts if part != "ratio"), "ratio"]
    return "_".join(parts)


def translated_utf8(name: str, unit: str, monotonic: bool, gauge: bool) -> str:
    """The same with NoUTF8EscapingWithSuffixes: suffixes are looked for at the end only."""
    if gauge and unit == "1":
        name = name.removesuffix("_ratio")
    if monotonic:
        name = name.removesuffix("_total")
    main, _, per = unit.partition("/")
    word = "" if set("{}") & set(main) else UNIT_WORDS.get(main, main)
    if word and not name.endswith(word):
        name += f"_{word}"
    if per and not set("{}") & set(per):
        name = name.removesuffix(f"_per_{per}") + f"_per_{per}"
    return name + ("_total" if monotonic else "") + ("_ratio" if gauge and unit == "1" else "")


def translated_label(name: str) -> str:
    escaped = re.sub("[^A-Za-z0-9]+", "_", name)
    return f"key_{escaped}" if escaped[:1].isdigit() else escaped


UNIT_WORDS = {**UNITS, "1": ""}
PER_WORDS = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


def assert_same_on_all_paths(family: Family) -> None:
    counter, gauge = family.type == "counter", family.type == "gauge"
    assert translated(family.name, family.unit, counter, gauge) == family.name
    assert translated_utf8(family.name, family.unit, counter, gauge) == family.name
    assert not (gauge and family.unit == "1")
    assert family.name.endswith("_total") == counter or "_stat_" in family.name
    labels = [translated_label(label) for label in family.labels]
    assert labels == list(family.labels)
    assert len(set(labels)) == len(labels)


def test_the_translation_that_we_test_with_changes_names_that_are_wrong() -> None:
    assert translated("cicd.pipeline.run.duration", "s", False, False) == "cicd_pipeline_run_duration_seconds"
    assert translated("x_total_things", "1", True, False) == "x_things_total"
    assert translated("g_plain", "1", False, True) == "g_plain_ratio"
    assert translated("speed_bytes_per_second", "By/s", False, True) == "speed_bytes_per_second_per_second"
    assert translated_utf8("seconds_waited", "s", False, True) == "seconds_waited_seconds"


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_has_one_name_on_all_paths(family: Family) -> None:
    assert_same_on_all_paths(family)
    if word := UNITS.get(family.unit, ""):
        assert family.name.removesuffix("_total").endswith(f"_{word}")
    assert family.buckets == tuple(sorted(set(family.buckets)))
    assert bool(family.buckets) == (family.type == "histogram")
    assert family.help.endswith((".", "what runs."))


NAME_PARTS = [
    "loss",
    "total",
    "ratio",
    "seconds",
    "bytes",
    "per",
    "second",
    "s",
    "ms",
    "_",
    "__",
    ".",
    "/",
    " ",
    "é",
    "9",
]
UNIT_TEXTS = [
    *UNITS,
    *UNITS.values(),
    "",
    "1",
    "By/s",
    "{row}",
    "{row}/s",
    "1/s",
    "tokens",
    "m/m",
    "a/b/c",
    "/",
    "{",
    "-",
]


@given(
    name=st.lists(st.sampled_from(NAME_PARTS), min_size=1, max_size=6).map("".join) | st.text(max_size=8),
    unit=st.sampled_from(UNIT_TEXTS) | st.text(max_size=4),
    kind=st.sampled_from(["counter", "gauge", "histogram", "timer", "scalar"]),
)
def test_a_stat_has_one_name_on_all_paths(name: str, unit: str, kind: str) -> None:
    family = stat_family(stat(name, unit=unit, type=kind), (), 10)
    assume(family is not None)
    assert family is not None
    assert_same_on_all_paths(family)
    assert re.fullmatch("otel_events_stat(_[A-Za-z0-9]+)+", family.name)


def test_no_two_families_share_a_sample() -> None:
    taken = [name for family in FAMILIES for name in sample_names(family)]
    assert len(taken) == len(set(taken))
    assert not [name for name in taken if name.startswith("otel_events_stat_")]


@given(tags=st.lists(st.text(max_size=6), max_size=4))
def test_allowed_tags_are_distinct_labels_or_refused(tags: list[str]) -> None:
    try:
        names = tag_labels(tags)
    except ConfigError:
        return
    assert [translated_label(name) for name in names] == list(names)
    assert set(names.values()) == set(tags)
    assert not {*names} & {*COMMON, "le"}


# --- the design -------------------------------------------------------------------------------------------------------

DESIGN = Path(__file__).resolve().parents[2] / "docs" / "design.md"


def test_the_table_has_every_family_of_the_design() -> None:
    section = DESIGN.read_text(encoding="utf-8").split("## 6. Metrics")[1].split("## 7.")[0]
    designed = set(re.findall(r"^\| (otel_events_\w+) \|", section, re.MULTILINE))
    for prefix, middle, suffix in re.findall(r"(?:otel_events)?(_\w*)\{([\w,]+)\}(\w*)", section.split("Self:")[1]):
        grouped = "," in middle
        designed |= {f"otel_events{prefix}{part}{suffix}" for part in (middle.split(",") if grouped else [""])}
    designed |= {"otel_events_illegal_transitions_total", "otel_events_build_info"}
    coded = {family.name for family in FAMILIES}
    assert designed - coded == set()
    assert coded == designed


@pytest.mark.parametrize("module", ["recording", "text"])
def test_the_examples_hold(module: str) -> None:
    result = doctest.testmod(import_module(f"otel_events.core.metrics.{module}"))
    assert (result.failed, result.attempted > 0) == (0, True)


def test_the_printed_table_has_a_row_for_each_family() -> None:
    rows = families_table(all_traits()).splitlines()
    assert len(rows) == 2 + len(FAMILIES) + 1
    assert {row.count("|") for row in rows} == {6}
    assert [row.split("`")[1] for row in rows[2:-1]] == [family.name for family in FAMILIES]
