"""/metrics: our text is prometheus_client's, line by line, and its parsers read it back."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterable
from typing import Any
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import exposition as client
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as parse_text

from otel_events.core import exposition as module
from otel_events.core.exposition import PrometheusCollector, Writer, exposition, prometheus_family
from otel_events.core.metrics import Metrics, all_families
from otel_events.core.metrics.families import MetricType
from otel_events.model.declared import all_traits
from otel_events.model.event import Run, Stat
from otel_events.model.telemetry import Exemplar, HistogramPoint, MetricData, Point

FAMILIES = all_families(all_traits())

generate_openmetrics: Callable[[Any], bytes] = client.generate_latest
parse_openmetrics: Callable[[str], Iterable[Metric]] = parser.text_string_to_metric_families

NOW = 1_790_000_000_123_456_789
TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""What Prometheus 3 asks with."""


class Families:
    """Families as given, as a collector of prometheus_client."""

    def __init__(self, families: list[MetricData]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return [prometheus_family(data) for data in self._families]


def filled() -> Metrics:
    """One of everything: exemplars, a stat of each type, awkward labels, runs under way."""
    metrics = Metrics(start=NOW - 10, tags=["split"], build={"version": "1", "python": "3"})
    run = Run("flyte", "task", "id", 'quote" slash\\ line\n', "root", namespace="p/d", workflow="größe 🚀")
    labels = metrics.runs.labels(run)
    metrics.active = lambda: [(labels, "running", NOW)]
    metrics.runs.seen(run)
    held = Exemplar(1.5, NOW, b"\x01" * 16, b"\x02" * 8)
    metrics.runs.attempt_ended(labels, "succeeded", "", held)
    metrics.runs.run_finished(labels, "succeeded", 90_000.0, 0.004, NOW, held)
    metrics.runs.run_finished(labels, "succeeded", 3.0, 0.004, NOW, None)
    for kind in ("counter", "gauge", "histogram", "timer", "scalar"):
        stat = Stat(id="e", time=NOW, run=run, name=f"a {kind}", value=2.5e7, type=kind, unit="By", tags={"split": "x"})
        metrics.runs.stat(labels, stat, held)
    metrics.internal.received("flyte", 5)
    metrics.internal.journal(1, 2**40, math.inf)
    return metrics


# --- equal to prometheus_client --------------------------------------------------------------------------------------

VALUES = st.floats() | st.integers(-10, 10**18).map(float) | st.sampled_from([999999.0, 1e6, 123456789.0, -0.0, 1e16])
LABEL_VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(['"', "\\", "\n", "\\n"])
EXEMPLARS = st.builds(Exemplar, VALUES, st.integers(0, NOW), st.binary(min_size=16, max_size=16), st.just(b"\0" * 8))
BOUNDS = st.lists(st.floats(0, 1e9), min_size=1, max_size=5, unique=True).map(lambda bounds: tuple(sorted(bounds)))


@st.composite
def families(draw: st.DrawFn) -> MetricData:
    """A family of any type, labels and values."""
    kind: MetricType = draw(st.sampled_from(["counter", "gauge", "histogram"]))
    names = draw(st.lists(st.sampled_from(["a", "kind", "le2", "zone", "Z"]), unique=True, max_size=4))
    label_sets = draw(st.lists(st.tuples(*[LABEL_VALUES] * len(names)), unique=True, max_size=4))
    unit, word = draw(st.sampled_from([("s", "_seconds"), ("By", "_bytes"), ("", ""), ("{run}", ""), ("s", "")]))
    help_text = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
    name = f"x{word}_total" if kind == "counter" else f"x{word}"
    bounds = draw(BOUNDS)
    points: list[Point] | list[HistogramPoint]
    if kind == "histogram":
        points = [draw(distributions(labels, bounds)) for labels in label_sets]
    else:
        points = [Point(labels, draw(VALUES), draw(st.none() | EXEMPLARS)) for labels in label_sets]
    return MetricData(name, kind, help_text, unit, tuple(names), points, 0, NOW)


@st.composite
def distributions(draw: st.DrawFn, labels: tuple[str, ...], bounds: tuple[float, ...]) -> HistogramPoint:
    buckets = draw(st.lists(st.integers(0, 10**7), min_size=len(bounds) + 1, max_size=len(bounds) + 1))
    held = draw(st.lists(EXEMPLARS, max_size=3))
    return HistogramPoint(labels, sum(buckets), draw(VALUES), bounds, buckets, held)


@given(data=families())
def test_text_and_openmetrics_are_those_of_prometheus_client(data: MetricData) -> None:
    collector, writer = Families([data]), Writer()
    for _ in range(2):  # the second time from what is kept
        assert writer.write([data], False).splitlines() == generate_latest(collector).splitlines()
        assert writer.write([data], True).splitlines() == generate_openmetrics(collector).splitlines()


@pytest.mark.parametrize(
    ("accept", "theirs"), [("", generate_latest), (OPENMETRICS, generate_openmetrics)], ids=["text", "openmetrics"]
)
def test_a_scrape_is_what_the_collector_gives_in_any_registry(
    accept: str, theirs: Callable[[CollectorRegistry], bytes]
) -> None:
    metrics = filled()
    registry = CollectorRegistry()
    registry.register(PrometheusCollector(metrics, lambda: NOW))
    assert exposition(metrics, accept, NOW)[0].splitlines() == theirs(registry).splitlines()


# --- read back -------------------------------------------------------------------------------------------------------


def test_openmetrics_is_read_back_with_its_types_units_and_exemplars() -> None:
    families = {family.name: family for family in parse_openmetrics(exposition(filled(), OPENMETRICS, NOW)[0].decode())}
    assert set(families) >= {family.name.removesuffix("_total") for family in FAMILIES}
    duration = families["otel_events_run_duration_seconds"]
    assert (duration.type, duration.unit) == ("histogram", "seconds")
    held = [sample.exemplar for sample in duration.samples if sample.exemplar]
    ids = {"trace_id": "01" * 16, "span_id": "02" * 8}
    assert [(sample.labels, sample.value, str(sample.timestamp)) for sample in held] == [
        (ids, 90_000.0, "1790000000.123456789")
    ]
    assert sum(map(len, [*ids, *ids.values()])) <= 128
    [attempts] = [sample for sample in families["otel_events_attempts"].samples if sample.exemplar]
    assert (attempts.name, attempts.value) == ("otel_events_attempts_total", 1.0)
    assert attempts.exemplar is not None
    assert attempts.exemplar.value == 1.5


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_labels_and_values_are_read_back_as_they_were(accept: str) -> None:
    parse = parse_openmetrics if accept else parse_text
    metrics = filled()
    samples = [sample for family in parse(exposition(metrics, accept, NOW)[0].decode()) for sample in family.samples]
    [runs] = [
        sample
        for sample in samples
        if sample.name == "otel_events_runs_total" and sample.labels["outcome"] == "succeeded"
    ]
    assert runs.value == 2.0
    assert runs.labels["name"] == 'quote" slash\\ line\\n'  # the line end is shown, see metrics.text
    assert runs.labels["workflow"] == "größe 🚀"
    assert {sample.name for sample in samples if sample.value == math.inf} == {
        "otel_events_journal_oldest_unacked_seconds"
    }
    assert [sample.labels["split"] for sample in samples if sample.name == "otel_events_stat_a_gauge_bytes"] == ["x"]
    assert not [sample.name for sample in samples if sample.name.endswith("_created")]


STAT_NAMES = st.sampled_from(["x", "x_count", "x_sum", "x_bucket", "x_total", "x_created", "x_info", "x total"])


@given(
    stats=st.lists(
        st.tuples(STAT_NAMES, st.sampled_from(["counter", "gauge", "histogram", "timer"]), VALUES), max_size=6
    )
)
def test_no_stat_can_break_the_scrape(stats: list[tuple[str, str, float]]) -> None:
    metrics = Metrics()
    run = Run("flyte", "task", "id", "n", "root")
    for name, kind, value in stats:
        stat = Stat(id="e", time=NOW, run=run, name=name, value=value, type=kind)  # type: ignore[arg-type]  # sampled
        metrics.runs.stat(metrics.runs.labels(run), stat)
    for accept, parse in (("", parse_text), (OPENMETRICS, parse_openmetrics)):
        read = list(parse(exposition(metrics, accept, NOW)[0].decode()))
        series = [(sample.name, *sorted(sample.labels.items())) for family in read for sample in family.samples]
        assert len(series) == len(set(series))


def test_every_family_has_its_help_and_type_before_anything_happened() -> None:
    lines = exposition(Metrics(), "", NOW)[0].decode().splitlines()
    for family in FAMILIES:
        at = lines.index(f"# TYPE {family.name} {family.type}")
        assert lines[at - 1] == f"# HELP {family.name} {family.help}"


# --- what is asked for -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("text/html", TEXT),
        ("text/plain;version=abc", TEXT),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        (OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"),
        (PROMETHEUS_3, "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
    ],
)
def test_the_accept_header_chooses(accept: str, content_type: str) -> None:
    body, chosen = exposition(filled(), accept, NOW)
    assert chosen == content_type
    assert body.endswith(b"# EOF\n") == ("openmetrics" in content_type)
    assert b"\notel_events_runs_total{" in body


def test_another_spelling_of_names_is_left_to_prometheus_client() -> None:
    body, chosen = exposition(filled(), f"{OPENMETRICS};escaping=dots", NOW)
    assert chosen.endswith("escaping=dots")
    assert b"\notel__events__runs__total{" in body


def test_what_is_kept_for_a_scrape_goes_with_its_metrics() -> None:
    metrics = Metrics()
    exposition(metrics, "", NOW)
    gone = ref(module._writers[metrics])
    del metrics
    gc.collect()
    assert gone() is None


def test_a_scrape_shows_what_happened_since_the_last() -> None:
    metrics = Metrics()
    run = Run("flyte", "task", "id", "n", "root")
    for expected in (b"1.0", b"2.0"):
        metrics.runs.run_finished(metrics.runs.labels(run), "failed", 1.0, None, NOW)
        [line] = [line for line in exposition(metrics, "", NOW)[0].splitlines() if b"_runs_total{" in line]
        assert line.endswith(b" " + expected)
