"""Scalars and vectors: histograms, raw points, latest and single values, lists of metrics."""

from __future__ import annotations

from typing import Any

import msgspec

from otel_events.clearml_server.api.base import Call, Service, invalid_scroll
from otel_events.clearml_server.api.reads.intervals import intervals
from otel_events.clearml_server.api.reads.requests import (
    EMPTY_SCROLL,
    bounded,
    metric_variants,
    metrics_filter,
    names_of,
    owners,
    single_owner,
)
from otel_events.clearml_server.api.reads.scrolls import packed, unpacked
from otel_events.clearml_server.store import SCALAR, SINGLE_VALUE, VECTOR, Axis, Metrics, Owner, Position
from otel_events.clearml_server.store.read import iso
from otel_events.clearml_server.store.scalars import float32

RAW_BATCH, MAX_RAW_BATCH = 10_000, 200_000
_PAGE = 500
_MANY = 10_000

Lines = dict[str, dict[str, dict[str, Any]]]


def scalar_metrics_iter_histogram(service: Service, call: Call) -> dict[str, Any]:
    """{metric: {variant: {name, x, y}}} of one task: means of buckets."""
    owner = single_owner(service, call)
    return _histograms(service, owner, call, metrics_filter(call))


def multi_task_scalar_metrics_iter_histogram(service: Service, call: Call) -> dict[str, Any]:
    """{metric: {variant: {task: {name, x, y}}}} of several tasks."""
    tasks = owners(service, call, call.data["tasks"])
    names = names_of(service, tasks)
    chosen = metrics_filter(call)
    merged: dict[str, dict[str, dict[str, Any]]] = {}
    for owner in tasks:
        for metric, variants in _histograms(service, owner, call, chosen).items():
            for variant, line in variants.items():
                merged.setdefault(metric, {}).setdefault(variant, {})[owner.id] = line | {"name": names[owner]}
    return {"metrics": {metric: dict(sorted(of.items())) for metric, of in sorted(merged.items())}}


def _histograms(service: Service, owner: Owner, call: Call, chosen: Metrics) -> Lines:
    """{metric: {variant: {name, x, y}}} of one owner, by name."""
    events = service.events
    axis = _axis(call.data["key"])
    series = events.series([owner], (SCALAR,), chosen)
    bounds = events.bounds(series, axis)
    lines: Lines = {}
    for single, of, width in zip(series, bounds, intervals(bounds, call.data["samples"]), strict=True):
        if not of.points:
            continue
        x, y = events.histogram(single, axis, width)
        line: dict[str, Any] = {"name": single.variant, "x": x, "y": y}
        if call.data["key"] == "iso_time":
            line["x"] = [iso(ms) for ms in x]
        if single.stats is not None and single.stats.label is not None:
            line["x_axis_label"] = single.stats.label
        lines.setdefault(single.metric, {})[single.variant] = line
    return lines


def _axis(key: str) -> Axis:
    return "iter" if key == "iter" else "timestamp"


class RawScroll(msgspec.Struct, forbid_unknown_fields=True):
    """The parameters of scalar_metrics_iter_raw, and the place where the last page ended."""

    task: str
    model: bool
    metric: str
    variants: list[str]
    key: str
    batch: int
    count: bool
    after: Position | None = None


def scalar_metrics_iter_raw(service: Service, call: Call) -> dict[str, Any]:
    """A page of the points of one metric by key, each exactly as it came; the last key is completed."""
    owner = single_owner(service, call)
    state = _raw_state(call, owner)
    chosen = {state.metric: state.variants}
    series = service.events.series([owner], (SCALAR,), chosen)
    axis = _axis(state.key)
    page = service.events.page(series, axis=axis, after=state.after, limit=state.batch, numbered_only=True)
    state.after = page.end
    lines: dict[str, dict[str, list[Any]]] = {}
    for event in page.events:
        line = lines.setdefault(event["variant"], {"y": [], axis: []})
        line["y"].append(event.get("value"))
        line[axis].append(event[axis])
    return {
        "returned": len(page.events),
        "total": page.total if state.count else None,
        "scroll_id": packed(state),
        "variants": dict(sorted(lines.items())),
    }


def _raw_state(call: Call, owner: Owner) -> RawScroll:
    scroll_id = call.data.get("scroll_id")
    if scroll_id:
        state = unpacked(scroll_id, RawScroll)
        if state is None or (state.task, state.model) != owner:
            raise invalid_scroll(scroll_id)
        return state
    data = call.data
    metric, variants = metric_variants("metric", data["metric"])
    batch = bounded(data["batch_size"], MAX_RAW_BATCH)
    return RawScroll(owner.id, owner.model, metric, variants, data["key"], batch, data["count_total"])


class DataScroll(msgspec.Struct):
    """Where a scroll of get_scalar_metric_data stands."""

    owner: Owner
    metric: str
    after: Position | None


def get_scalar_metric_data(service: Service, call: Call) -> dict[str, Any]:
    """A page of the events of one metric, newest iteration first."""
    owner = single_owner(service, call)
    scroll_id, metric, after = call.data.get("scroll_id"), call.data["metric"], None
    if scroll_id == EMPTY_SCROLL:
        return {"events": [], "returned": 0, "total": 0, "scroll_id": EMPTY_SCROLL}
    if scroll_id:
        state = service.scrolls.get(scroll_id, DataScroll)
        if state is None or state.owner != owner:
            raise invalid_scroll(scroll_id)
        metric, after = state.metric, state.after
    series = service.events.series([owner], (SCALAR,), {metric: ()})
    page = service.events.page(series, descending=True, after=after, limit=_PAGE)
    if not page.events:
        service.scrolls.clear(scroll_id)
        scroll_id = EMPTY_SCROLL
    elif call.data["no_scroll"]:
        scroll_id = None
    else:
        scroll_id = service.scrolls.put(DataScroll(owner, metric, page.end), scroll_id)
    return {"events": page.events, "returned": len(page.events), "total": page.total, "scroll_id": scroll_id}


def get_task_single_value_metrics(service: Service, call: Call) -> dict[str, Any]:
    """The single values of several tasks."""
    tasks = owners(service, call, call.data["tasks"])
    names = names_of(service, tasks)
    chosen = metrics_filter(call)
    answers = []
    for owner in tasks:
        points = service.events.points(service.events.series([owner], (SCALAR,), chosen), SINGLE_VALUE)
        fields = ("metric", "variant", "value", "timestamp")
        values = [{name: event.get(name) for name in fields} for event in points if event is not None]
        if values:
            answers.append({"task": owner.id, "task_name": names[owner], "values": values})
    return {"tasks": answers}


def get_task_latest_scalar_values(service: Service, call: Call) -> dict[str, Any]:
    """The newest value of each scalar of a task."""
    owner = single_owner(service, call)
    every = service.events.series([owner])
    scalars = [series for series in every if series.type == SCALAR]
    metrics: dict[str, list[dict[str, Any]]] = {}
    for series, newest in zip(scalars, service.events.points(scalars), strict=True):
        if newest is not None:
            value = float32(newest["value"])
            metrics.setdefault(series.metric, []).append(
                {"name": series.variant, "last_value": value, "last_10_value": value}
            )
    return {
        "metrics": [{"name": name, "variants": variants} for name, variants in metrics.items()],
        "last_iter": max((series.top for series in every if series.top is not None), default=0),
        "name": None,
        "status": "created",  # as the recorded server says of every task, and of its name nothing
        "last_timestamp": max((series.received for series in scalars), default=0),
    }


def vector_metrics_iter_histogram(service: Service, call: Call) -> dict[str, Any]:
    """The vectors of one variant by iteration."""
    metric, variant = call.data["metric"], call.data["variant"]
    series = service.events.series([single_owner(service, call)], (VECTOR,), {metric: (variant,)})
    events = service.events.reports(series, newest=_MANY)[::-1]
    return {
        "metric": metric,
        "variant": variant,
        "vectors": [event["value"] for event in events],
        "iterations": [event["iter"] for event in events],
    }
