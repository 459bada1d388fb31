"""Plots and images without navigation: the newest iterations, of each variant, each metric or the whole task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from otel_events.server.clearml_api.base import Call, Service, invalid_scroll
from otel_events.server.clearml_api.reads.asked import (
    EMPTY_SCROLL,
    metrics_filter,
    named,
    one_owner,
    owners,
)
from otel_events.store import IMAGE, PLOT, Owner, Series

_PAGE, _OLD_PAGE = 1_000, 10_000
_IMAGES_PAGE = 500

Event = dict[str, Any]


def get_task_plots(service: Service, call: Call) -> dict[str, Any]:
    """The newest ``iters`` iterations of each variant."""
    series = service.store.series([one_owner(service, call)], (PLOT,), metrics_filter(call))
    plots = service.store.reports(series, newest=call.data["iters"])
    return {"plots": plots, "returned": len(plots), "total": len(plots), "scroll_id": None}


def get_task_plots_1_0(service: Service, call: Call) -> dict[str, Any]:
    """Before 1.8: of the newest 10,000 plots those of the newest ``iters`` iterations of each variant."""
    series = service.store.series([one_owner(service, call)], (PLOT,))
    plots = service.store.reports(series, newest=call.data["iters"])
    plots.sort(key=_iteration, reverse=True)
    plots = plots[:_OLD_PAGE]
    return {
        "plots": plots,
        "returned": len(plots),
        "total": sum(one.events for one in series),
        "scroll_id": EMPTY_SCROLL if not plots else None,
    }


class PlotsScroll(msgspec.Struct):
    """Where a page of get_multi_task_plots or of an old debug_images ended: so many events were given."""

    owners: list[Owner]
    iters: int
    given: int
    by_metric: bool = True


def get_multi_task_plots(service: Service, call: Call) -> dict[str, Any]:
    """{metric: {variant: {task: {iteration: {name, plots}}}}}, newest iterations first, 1,000 plots a page."""
    asked = owners(service, call, call.data["tasks"])
    state = _state(service, call, asked)
    if state is None:
        return {"plots": {}, "returned": 0, "total": 0, "scroll_id": EMPTY_SCROLL}
    events: list[Event] = []
    for owner in asked:
        series = service.store.series([owner], (PLOT,), metrics_filter(call))
        events += _newest(service, series, state.iters, state.by_metric)
    events.sort(key=_iteration, reverse=True)
    page = events[state.given : state.given + _PAGE]
    plots = _nested(page, named(service, asked))
    scroll_id = _scrolled(service, call, state, len(page))
    return {"plots": plots, "returned": len(plots), "total": len(events), "scroll_id": scroll_id}


def debug_images_1_8(service: Service, call: Call) -> dict[str, Any]:
    """Images of the newest ``iters`` iterations of the task, 500 a page."""
    owner = one_owner(service, call)
    state = _state(service, call, [owner])
    if state is None:
        return {"task": owner.id, "images": [], "returned": 0, "total": 0, "scroll_id": EMPTY_SCROLL}
    series = service.store.series([owner], (IMAGE,))
    events = _newest(service, series, state.iters, by_metric=False)
    events.sort(key=_iteration, reverse=True)
    page = events[state.given : state.given + _IMAGES_PAGE]
    scroll_id = _scrolled(service, call, state, len(page)) if events else None
    return {"task": owner.id, "images": page, "returned": len(page), "total": len(events), "scroll_id": scroll_id}


def debug_images_1_0(service: Service, call: Call) -> dict[str, Any]:
    """Before 1.8: the newest ``iters`` iterations of each variant, without pages."""
    owner = one_owner(service, call)
    series = service.store.series([owner], (IMAGE,))
    images = service.store.reports(series, newest=call.data["iters"])
    images.sort(key=_iteration, reverse=True)
    images = images[:_OLD_PAGE]
    total = sum(one.events for one in series)
    scroll_id = None if images else EMPTY_SCROLL
    return {"task": owner.id, "images": images, "returned": len(images), "total": total, "scroll_id": scroll_id}


def _iteration(event: Event) -> int:
    iteration: int = event["iter"]
    return iteration


def _newest(service: Service, series: Sequence[Series], iters: int, by_metric: bool) -> list[Event]:
    """Events of the newest iterations of each metric, or of all of them together."""
    groups: dict[str, list[Series]] = {}
    for one in series:
        groups.setdefault(one.metric if by_metric else "", []).append(one)
    events = []
    for group in groups.values():
        kept = service.store.iterations(group, newest=iters)
        if kept:
            events += [event for event in service.store.reports(group, low=kept[-1]) if event["iter"] in kept]
    return events


def _nested(events: Sequence[Event], names: dict[Owner, str]) -> dict[str, Any]:
    plots: dict[str, Any] = {}
    by_id = {owner.id: name for owner, name in names.items()}
    for event in events:
        tasks = plots.setdefault(event["metric"], {}).setdefault(event["variant"], {})
        iterations = tasks.setdefault(event["task"], {})
        of = iterations.setdefault(str(event["iter"]), {"name": by_id[event["task"]], "plots": []})
        of["plots"].append(event)
    return plots


def _state(service: Service, call: Call, asked: list[Owner]) -> PlotsScroll | None:
    """The state of a scroll, a new one without; None after the last page."""
    scroll_id = call.data.get("scroll_id")
    if scroll_id == EMPTY_SCROLL:
        return None
    if not scroll_id:
        by_metric = call.data.get("last_iters_per_task_metric", True)
        return PlotsScroll(asked, call.data["iters"], 0, by_metric)
    state = service.scrolls.get(scroll_id, PlotsScroll)
    if state is None or state.owners != asked:
        raise invalid_scroll(scroll_id)
    return state


def _scrolled(service: Service, call: Call, state: PlotsScroll, given: int) -> str | None:
    scroll_id = call.data.get("scroll_id")
    if not given:
        service.scrolls.clear(scroll_id)
        return EMPTY_SCROLL
    if call.data.get("no_scroll"):
        return None
    after = PlotsScroll(state.owners, state.iters, state.given + given, state.by_metric)
    kept: str = service.scrolls.put(after, scroll_id)
    return kept
