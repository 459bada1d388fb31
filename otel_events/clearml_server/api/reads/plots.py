"""Plots and images without navigation: the newest iterations of each variant, of each metric or of the whole task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from otel_events.clearml_server.api.base import Call, Service, invalid_scroll
from otel_events.clearml_server.api.reads.requests import EMPTY_SCROLL, metrics_filter, names_of, owners, single_owner
from otel_events.clearml_server.store import IMAGE, PLOT, Owner, Series

Event = dict[str, Any]
Group = Callable[[Series], tuple[str, ...]]


def _by_variant(series: Series) -> tuple[str, ...]:
    return (series.metric, series.variant)


def _by_metric(series: Series) -> tuple[str, ...]:
    return (series.metric,)


def _by_task(series: Series) -> tuple[str, ...]:
    return ()


class _Question(NamedTuple):
    """What an endpoint returns. ``group``: what the newest iterations are counted for. ``page``: events in a page.
    ``name``: the field of the answer that has them."""

    type: str
    group: Group
    page: int
    name: str


_OLD_PLOTS = _Question(PLOT, _by_variant, 10_000, "plots")
_OLD_IMAGES = _Question(IMAGE, _by_variant, 10_000, "images")
_IMAGES = _Question(IMAGE, _by_task, 500, "images")
_PLOTS = _Question(PLOT, _by_metric, 1_000, "plots")
_PLOTS_OF_TASK = _Question(PLOT, _by_task, 1_000, "plots")


def get_task_plots(service: Service, call: Call) -> dict[str, Any]:
    """The newest ``iters`` iterations of each variant."""
    series = service.events.series([single_owner(service, call)], (PLOT,), metrics_filter(call))
    plots = service.events.reports(series, newest=call.data["iters"])
    return {"plots": plots, "returned": len(plots), "total": len(plots), "scroll_id": None}


def get_task_plots_1_0(service: Service, call: Call) -> dict[str, Any]:
    """Before 1.8: newest first, in pages."""
    owner = single_owner(service, call)
    return _paged(service, call, [owner], _OLD_PLOTS)


def debug_images_1_0(service: Service, call: Call) -> dict[str, Any]:
    """Before 1.8: of each variant the newest ``iters`` iterations."""
    owner = single_owner(service, call)
    return {"task": owner.id} | _paged(service, call, [owner], _OLD_IMAGES)


def debug_images_1_8(service: Service, call: Call) -> dict[str, Any]:
    """Images of the newest ``iters`` iterations of the task."""
    owner = single_owner(service, call)
    answer = _paged(service, call, [owner], _IMAGES)
    return {"task": owner.id} | answer | {"scroll_id": answer["scroll_id"] if answer["total"] else None}


def get_multi_task_plots_1_0(service: Service, call: Call) -> dict[str, Any]:
    """Before 1.8: of each variant the newest ``iters`` iterations."""
    return _multi(service, call, _OLD_PLOTS)


def get_multi_task_plots(service: Service, call: Call) -> dict[str, Any]:
    """{metric: {variant: {task: {iteration: {name, plots}}}}}, newest iterations first."""
    return _multi(service, call, _PLOTS if call.data["last_iters_per_task_metric"] else _PLOTS_OF_TASK)


def _multi(service: Service, call: Call, question: _Question) -> dict[str, Any]:
    tasks = owners(service, call, call.data["tasks"])
    answer = _paged(service, call, tasks, question)
    plots = _nested(answer["plots"], names_of(service, tasks))
    return answer | {"plots": plots, "returned": len(plots)}


class PlotsScroll(msgspec.Struct):
    """Where a page ended. ``shown``: how many events all pages so far had."""

    owners: list[Owner]
    type: str
    iters: int
    shown: int


def _paged(service: Service, call: Call, wanted: list[Owner], question: _Question) -> dict[str, Any]:
    """A page of the events of the newest ``iters`` iterations of each group, newest first."""
    kind, name = question.type, question.name
    scroll_id = call.data.get("scroll_id")
    if scroll_id == EMPTY_SCROLL:
        return {name: [], "returned": 0, "total": 0, "scroll_id": EMPTY_SCROLL}
    state = PlotsScroll(wanted, kind, call.data["iters"], 0)
    if scroll_id:
        earlier = service.scrolls.get(scroll_id, PlotsScroll)
        if earlier is None or (earlier.owners, earlier.type) != (wanted, kind):
            raise invalid_scroll(scroll_id)
        state = earlier
    chosen = metrics_filter(call)
    events: list[Event] = []
    for owner in wanted:
        events += _newest(service, service.events.series([owner], (kind,), chosen), state.iters, question.group)
    events.sort(key=_iteration, reverse=True)
    page = events[state.shown : state.shown + question.page]
    state = PlotsScroll(wanted, kind, state.iters, state.shown + len(page))
    return {
        name: page,
        "returned": len(page),
        "total": len(events),
        "scroll_id": _scrolled(service, call, state, bool(page)),
    }


def _scrolled(service: Service, call: Call, state: PlotsScroll, more: bool) -> str | None:
    scroll_id = call.data.get("scroll_id")
    if not more:
        service.scrolls.clear(scroll_id)
        return EMPTY_SCROLL
    return None if call.data.get("no_scroll") else service.scrolls.put(state, scroll_id)


def _iteration(event: Event) -> int:
    iteration: int = event["iter"]
    return iteration


def _newest(service: Service, series: Sequence[Series], iters: int, group: Group) -> list[Event]:
    """Events of the newest iterations of each group."""
    groups: dict[tuple[str, ...], list[Series]] = {}
    for member in series:
        groups.setdefault(group(member), []).append(member)
    events = []
    for members in groups.values():
        greatest = set(service.events.iterations(members, newest=iters))
        if greatest:
            events += [
                event for event in service.events.reports(members, low=min(greatest)) if event["iter"] in greatest
            ]
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
