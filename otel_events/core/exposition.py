"""/metrics: the families as Prometheus text or OpenMetrics, and as a collector for a registry of prometheus_client.

We write the text ourselves and cache what stands before the value of each series (name and escaped labels), so that a
scrape only joins strings. It equals, line by line, what prometheus_client writes for ``PrometheusCollector``: a test
compares them. No series has a ``_created`` beside it, because over OTLP there is none either.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import cast
from weakref import WeakKeyDictionary

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.samples import Exemplar as PrometheusExemplar
from prometheus_client.samples import Timestamp
from prometheus_client.utils import floatToGoString

from otel_events.core.metrics import Metrics
from otel_events.core.metrics.text import UNITS
from otel_events.model.telemetry import Exemplar, HistogramPoint, MetricData, Point

NANO = 1_000_000_000
MINUS_INFINITY = float("-inf")
PLAIN_BELOW = 1e6
"""Go formats floats below this, and above minus infinity, as ``repr`` does."""

Labels = tuple[str, ...]

_go: Callable[[float], str] = floatToGoString


def numbers(data: MetricData) -> list[Point]:
    """Points of a counter or gauge."""
    return cast("list[Point]", data.points)


def distributions(data: MetricData) -> list[HistogramPoint]:
    """Points of a histogram."""
    return cast("list[HistogramPoint]", data.points)


def exposition(metrics: Metrics, accept: str, now_ns: int) -> tuple[bytes, str]:
    """The body of a scrape.

    Args:
        metrics: What to show.
        accept: The Accept header of the request; OpenMetrics, with exemplars, is written where it asks for it.
        now_ns: Time of the scrape (ns since the epoch).

    Returns:
        (body, content type).
    """
    encoder, content_type = _choose(accept)
    if content_type.endswith(("escaping=dots", "escaping=values")):
        # Escaped names, which no scraper asks for by default: prometheus_client can write them.
        return encoder(PrometheusCollector(metrics, lambda: now_ns)), content_type
    writer = _writers.get(metrics)
    if writer is None:
        writer = _writers[metrics] = Writer()
    families = metrics.collect(now_ns)
    openmetrics = content_type.startswith("application/openmetrics-text")
    return writer.write(families, openmetrics), content_type


def _choose(accept: str) -> tuple[Callable[[PrometheusCollector], bytes], str]:
    try:
        return choose_encoder(accept)
    except TypeError:  # prometheus_client 0.26 cannot compare a version that is no number
        return choose_encoder("")


class Writer:
    """Writes families and caches what stands before each value. One for each ``Metrics``, whose caps bound it."""

    def __init__(self) -> None:
        self._heads: dict[str, Heads] = {}
        self._bucket_heads: dict[str, BucketHeads] = {}

    def write(self, families: Iterable[MetricData], openmetrics: bool) -> bytes:
        """The whole body, UTF-8."""
        lines: list[str] = []
        for data in families:
            lines += _preamble(data, openmetrics)
            if not data.points:
                continue
            if data.type == "histogram":
                lines += self._histogram(data.name, data.label_names, distributions(data), openmetrics)
            else:
                lines += self._numbers(data, openmetrics and data.type == "counter")
        if openmetrics:
            lines.append("# EOF\n")
        return "".join(lines).encode()

    def _numbers(self, data: MetricData, exemplars: bool) -> list[str]:
        heads = self._heads.get(data.name)
        if heads is None:
            heads = self._heads[data.name] = Heads(data.name, data.label_names)
        return _number_lines(heads, numbers(data), exemplars)

    def _histogram(self, name: str, labels: Labels, points: Sequence[HistogramPoint], openmetrics: bool) -> list[str]:
        heads = self._bucket_heads.get(name)
        if heads is None:
            heads = self._bucket_heads[name] = BucketHeads(name, labels, points[0].bounds)
        return [line for point in points for line in _bucket_lines(point, heads[point.labels], openmetrics)]


_writers: WeakKeyDictionary[Metrics, Writer] = WeakKeyDictionary()


class Heads(dict[Labels, str]):
    """Label values -> what stands before the value of a counter's or gauge's series."""

    def __init__(self, name: str, label_names: Labels) -> None:
        self._name = name
        self._label_names = label_names

    def __missing__(self, labels: Labels) -> str:
        return self.setdefault(labels, _head(self._name, zip(self._label_names, labels, strict=True)))


class BucketHeads(dict[Labels, tuple[str, ...]]):
    """Label values -> what stands before each bucket of a histogram's series, its count and its sum."""

    def __init__(self, name: str, label_names: Labels, bounds: Sequence[float]) -> None:
        self._name = name
        self._label_names = label_names
        self._les = les(bounds)

    def __missing__(self, labels: Labels) -> tuple[str, ...]:
        pairs = tuple(zip(self._label_names, labels, strict=True))
        buckets = [_head(f"{self._name}_bucket", (*pairs, ("le", le))) for le in self._les]
        return self.setdefault(
            labels, (*buckets, _head(f"{self._name}_count", pairs), _head(f"{self._name}_sum", pairs))
        )


def _head(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    inside = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(pairs))
    return f"{name}{{{inside}}} " if inside else f"{name} "


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def les(bounds: Sequence[float]) -> list[str]:
    """The ``le`` values of a histogram with these upper bounds, +Inf last."""
    return [*map(_go, bounds), "+Inf"]


def _preamble(data: MetricData, openmetrics: bool) -> list[str]:
    if not openmetrics:
        text = data.help.replace("\\", r"\\").replace("\n", r"\n")
        return [f"# HELP {data.name} {text}\n# TYPE {data.name} {data.type}\n"]
    name, unit = _base(data), _unit(data)
    lines = [f"# HELP {name} {_escaped(data.help)}\n# TYPE {name} {data.type}\n"]
    return [*lines, f"# UNIT {name} {unit}\n"] if unit else lines


def _base(data: MetricData) -> str:
    return data.name.removesuffix("_total") if data.type == "counter" else data.name


def _unit(data: MetricData) -> str:
    """The unit's word where the name ends in it, as OpenMetrics wants it; else ""."""
    word = UNITS.get(data.unit, "")
    return word if word and _base(data).endswith(f"_{word}") else ""


def _number_lines(heads: Heads, points: Sequence[Point], exemplars: bool) -> list[str]:
    return [
        f"{heads[point.labels]}{value!r}\n"
        if MINUS_INFINITY < (value := point.value) < PLAIN_BELOW and not (exemplars and point.exemplar)
        else f"{heads[point.labels]}{_go(value)}{_om_exemplar(point.exemplar if exemplars else None)}\n"
        for point in points
    ]


def _bucket_lines(point: HistogramPoint, heads: Sequence[str], openmetrics: bool) -> list[str]:
    counts = accumulate(point.buckets)
    if openmetrics and point.exemplars:
        held = by_bucket(point)
        after = [_om_exemplar(held.get(place)) for place in range(len(point.buckets))]
        lines = [f"{head}{_whole(count)}{text}\n" for head, count, text in zip(heads, counts, after, strict=False)]
    else:
        lines = [f"{head}{_whole(count)}\n" for head, count in zip(heads, counts, strict=False)]
    return [*lines, f"{heads[-2]}{_whole(point.count)}\n", f"{heads[-1]}{_go(point.sum)}\n"]


def _whole(count: int) -> str:
    return f"{count}.0" if count < PLAIN_BELOW else _go(count)


def by_bucket(point: HistogramPoint) -> dict[int, Exemplar]:
    """Place of the bucket -> its exemplar."""
    return {bisect_left(point.bounds, exemplar.value): exemplar for exemplar in point.exemplars}


def _om_exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    ids = f'span_id="{exemplar.span_id.hex()}",trace_id="{exemplar.trace_id.hex()}"'
    return f" # {{{ids}}} {_go(exemplar.value)} {Timestamp(*divmod(exemplar.time, NANO))}"


class PrometheusCollector:
    """Families for a registry of prometheus_client: ``REGISTRY.register(PrometheusCollector(metrics, time_ns))``."""

    def __init__(self, metrics: Metrics, clock: Callable[[], int]) -> None:
        self._metrics = metrics
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        return map(prometheus_family, self._metrics.collect(self._clock()))


# --- the same as prometheus_client's own objects -----------------------------------------------------------------


def prometheus_family(data: MetricData) -> Metric:
    """A family as prometheus_client has it."""
    return _FAMILIES[data.type](data)


def _counter(data: MetricData) -> Metric:
    family = CounterMetricFamily(data.name, data.help, labels=data.label_names, unit=_unit(data))
    for point in numbers(data):
        family.add_metric(point.labels, point.value, exemplar=_exemplar(point.exemplar) if point.exemplar else None)
    return family


def _gauge(data: MetricData) -> Metric:
    family = GaugeMetricFamily(data.name, data.help, labels=data.label_names, unit=_unit(data))
    for point in numbers(data):
        family.add_metric(point.labels, point.value)
    return family


def _histogram(data: MetricData) -> Metric:
    family = HistogramMetricFamily(data.name, data.help, labels=data.label_names, unit=_unit(data))
    for point in distributions(data):
        held = by_bucket(point)
        places = enumerate(zip(les(point.bounds), accumulate(point.buckets), strict=True))
        buckets = [(le, count, _exemplar(held[at])) if at in held else (le, count) for at, (le, count) in places]
        family.add_metric(point.labels, buckets, point.sum)
    return family


def _exemplar(exemplar: Exemplar) -> PrometheusExemplar:
    ids = {"trace_id": exemplar.trace_id.hex(), "span_id": exemplar.span_id.hex()}
    return PrometheusExemplar(ids, exemplar.value, Timestamp(*divmod(exemplar.time, NANO)))


_FAMILIES: dict[str, Callable[[MetricData], Metric]] = {"counter": _counter, "gauge": _gauge, "histogram": _histogram}
