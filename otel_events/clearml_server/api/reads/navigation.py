"""debug_images (since 2.7) and plots: pages of iterations for several tasks, earlier and later.

The state of a scroll has the metrics that there were when it began. Later ones show after a refresh, which starts at
the newest iteration again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from otel_events.clearml_server.api.base import Call, Service
from otel_events.clearml_server.api.reads.requests import filters_by_owner
from otel_events.clearml_server.store import IMAGE, PLOT, Metrics, Owner, Series

_NONE = -(2**63)


class _Variant(msgspec.Struct):
    """``from_iter``: the least iteration whose image was not overwritten by a later one of the same URL."""

    series: Series
    from_iter: int


class _Task(msgspec.Struct):
    owner: Owner
    variants: list[_Variant]
    low: int | None = None
    """The least and greatest iterations of the page last given."""
    high: int | None = None


class NavigationScroll(msgspec.Struct):
    """The state of a scroll: which tasks, and where each of them stands."""

    type: str
    tasks: dict[Owner, _Task]


def debug_images(service: Service, call: Call) -> dict[str, Any]:
    """A page of iterations with images."""
    return _page(service, call, IMAGE)


def plots(service: Service, call: Call) -> dict[str, Any]:
    """A page of iterations with plots."""
    return _page(service, call, PLOT)


def _page(service: Service, call: Call, kind: str) -> dict[str, Any]:
    data = call.data
    chosen_by_owner = filters_by_owner(service, call)
    scroll_id = data.get("scroll_id")
    state = service.scrolls.get(scroll_id, NavigationScroll)
    if state is None or state.type != kind:
        state, scroll_id = NavigationScroll(kind, {}), None
    pages = []
    for owner, chosen in chosen_by_owner.items():
        task = state.tasks.get(owner)
        if task is None or data["refresh"]:
            task = state.tasks[owner] = _begin(service, owner, kind, chosen)
        iterations = _turn(service, task, data["iters"], data["navigate_earlier"])
        pages.append({"task": owner.id, "iterations": iterations})
    return {"metrics": pages, "scroll_id": service.scrolls.put(state, scroll_id)}


def _begin(service: Service, owner: Owner, kind: str, chosen: Metrics) -> _Task:
    variants = []
    for series in service.events.series([owner], (kind,), chosen):
        gone = service.events.overwritten(series) if kind == IMAGE else None
        variants.append(_Variant(series, _NONE if gone is None else gone + 1))
    return _Task(owner, variants)


def _turn(service: Service, task: _Task, count: int, earlier: bool) -> list[dict[str, Any]]:
    """The next page of a task, newest iteration first; at the end it is empty, and the task stays on its last page."""
    low, high = None, None
    if task.low is not None and task.high is not None:
        low, high = (None, task.low - 1) if earlier else (task.high + 1, None)
    up = low is not None
    iterations = _iterations(service, task.variants, count, low, high, up)
    if not iterations:
        return []
    task.low, task.high = min(iterations), max(iterations)
    events: dict[int, list[dict[str, Any]]] = {iteration: [] for iteration in sorted(iterations, reverse=True)}
    for variant in task.variants:
        bottom = max(task.low, variant.from_iter)
        for event in one_each(service.events.reports([variant.series], low=bottom, high=task.high)):
            if event["iter"] in events:
                events[event["iter"]].append(event)
    return [{"iter": iteration, "events": of} for iteration, of in events.items()]


def _iterations(
    service: Service, variants: Sequence[_Variant], count: int, low: int | None, high: int | None, up: bool
) -> list[int]:
    merged: set[int] = set()
    for variant in variants:
        bottom = variant.from_iter if low is None else max(low, variant.from_iter)
        merged.update(service.events.iterations([variant.series], newest=count, low=bottom, high=high, up=up))
    return sorted(merged, reverse=not up)[:count]


def one_each(events: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One event for each iteration of a series: of images the one with the last URL, of plots the latest."""
    newest: dict[int, dict[str, Any]] = {}
    for event in events:
        before = newest.get(event["iter"])
        if before is None or _rank(event) > _rank(before):
            newest[event["iter"]] = event
    return list(newest.values())


def _rank(event: dict[str, Any]) -> tuple[str, float]:
    return (event.get("url") or "", event["timestamp"]) if event["type"] == IMAGE else ("", event["timestamp"])
