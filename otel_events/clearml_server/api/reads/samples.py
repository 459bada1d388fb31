"""get_*_sample and next_*_sample: one image, or the plots of one metric, at a time, and the ones before and after it.

Images are ordered by (iteration, metric, variant). Plots are ordered by (iteration, metric), and all variants of a
metric are shown together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from otel_events.clearml_server.api.base import Call, Service, invalid_scroll
from otel_events.clearml_server.api.reads.navigation import one_each
from otel_events.clearml_server.api.reads.requests import single_owner
from otel_events.clearml_server.store import IMAGE, PLOT, Owner, Series

_MAX_VARIANTS = 100


class _Spot(msgspec.Struct):
    """One variant of images, or one metric of plots with all its variants, and the iterations that can be seen."""

    name: tuple[str, str]
    series: list[Series]
    low: int
    high: int


class SampleScroll(msgspec.Struct):
    """The state of a scroll: the spots to walk through, and the place of the last sample."""

    type: str
    owner: Owner
    metric: str
    current_only: bool
    spots: list[_Spot]
    """By name."""
    at: tuple[int, tuple[str, str]] | None = None


def get_debug_image_sample(service: Service, call: Call) -> dict[str, Any]:
    """An image of one variant: of the iteration that the call names, or the newest before it."""
    return _image(*_get(service, call, IMAGE, (call.data["metric"], call.data["variant"])))


def next_debug_image_sample(service: Service, call: Call) -> dict[str, Any]:
    """The image before or after the last one of the scroll."""
    return _image(*_next(service, call, IMAGE))


def get_plot_sample(service: Service, call: Call) -> dict[str, Any]:
    """The plots of one metric: of the iteration that the call names, or the newest before it."""
    return _plots(*_get(service, call, PLOT, (call.data["metric"], "")))


def next_plot_sample(service: Service, call: Call) -> dict[str, Any]:
    """The plots before or after the last ones of the scroll."""
    return _plots(*_next(service, call, PLOT))


_Sample = tuple[str, _Spot | None, list[dict[str, Any]]]


def _image(scroll_id: str, spot: _Spot | None, events: list[dict[str, Any]]) -> dict[str, Any]:
    return {"scroll_id": scroll_id, "event": events[0] if events else None} | _span(spot)


def _plots(scroll_id: str, spot: _Spot | None, events: list[dict[str, Any]]) -> dict[str, Any]:
    return {"scroll_id": scroll_id, "events": events} | _span(spot)


def _span(spot: _Spot | None) -> dict[str, Any]:
    return {"min_iteration": spot and spot.low, "max_iteration": spot and spot.high}


def _get(service: Service, call: Call, kind: str, name: tuple[str, str]) -> _Sample:
    owner = single_owner(service, call)
    state, scroll_id = _state(service, call, kind, owner)
    spot = next((candidate for candidate in state.spots if candidate.name == name), None)
    events: list[dict[str, Any]] = []
    if spot is not None:
        at = _newest(service, spot, call.data.get("iteration"))
        if at is not None:
            state.at, events = (at, spot.name), _events(service, spot, at)
    return service.scrolls.put(state, scroll_id), spot, events


def _state(service: Service, call: Call, kind: str, owner: Owner) -> tuple[SampleScroll, str | None]:
    """The state of the scroll, with new spots after a refresh; a new state where the scroll is unknown or expired."""
    metric = call.data["metric"]
    scroll_id = call.data.get("scroll_id")
    state = service.scrolls.get(scroll_id, SampleScroll)
    if state is None or state.type != kind:
        current_only = call.data["navigate_current_metric"]
        return SampleScroll(kind, owner, metric, current_only, _spots(service, kind, owner, metric, current_only)), None
    if state.owner != owner or (state.current_only and state.metric != metric):
        raise invalid_scroll(scroll_id)
    current_only = call.data["navigate_current_metric"]
    if call.data["refresh"] or current_only != state.current_only:
        state.current_only, state.metric = current_only, metric
        state.spots = _spots(service, kind, owner, metric, state.current_only)
    return state, scroll_id


def _spots(service: Service, kind: str, owner: Owner, metric: str, current_only: bool) -> list[_Spot]:
    grouped: dict[tuple[str, str], list[Series]] = {}
    for series in service.events.series([owner], (kind,), {metric: ()} if current_only else None):
        name = (series.metric, series.variant if kind == IMAGE else "")
        grouped.setdefault(name, []).append(series)
    spots = []
    for name, group in sorted(grouped.items()):
        spans = [span for span in service.events.bounds(group, "iter") if span.points]
        if spans:
            low, high = min(int(of.low or 0) for of in spans), max(int(of.high or 0) for of in spans)
            spots.append(_Spot(name, group[:_MAX_VARIANTS], low, high))
    return spots


def _next(service: Service, call: Call, kind: str) -> _Sample:
    scroll_id = call.data.get("scroll_id")
    owner = single_owner(service, call)
    state = service.scrolls.get(scroll_id, SampleScroll)
    if state is None or (state.type, state.owner) != (kind, owner):
        raise invalid_scroll(scroll_id)
    place = _neighbour(service, state, call.data["navigate_earlier"], call.data["next_iteration"])
    renewed_id = service.scrolls.put(state, scroll_id)
    if place is None:
        return renewed_id, None, []
    spot = next(candidate for candidate in state.spots if candidate.name == place[1])
    state.at = place
    return renewed_id, spot, _events(service, spot, place[0])


def _neighbour(
    service: Service, state: SampleScroll, earlier: bool, next_iteration: bool
) -> tuple[int, tuple[str, str]] | None:
    """The place before or after the state's; None at the end, or where no sample was shown yet."""
    if state.at is None:
        return None
    at, name = state.at
    if not next_iteration:
        beside = [spot for spot in state.spots if (spot.name < name if earlier else spot.name > name)]
        here = [(at, spot.name) for spot in beside if _has(service, spot, at)]
        if here:
            return max(here) if earlier else min(here)
    nearest = [(_beyond(service, spot, at, earlier), spot.name) for spot in state.spots]
    places = [(iteration, name) for iteration, name in nearest if iteration is not None]
    if not places:
        return None
    return max(places) if earlier else min(places)


def _has(service: Service, spot: _Spot, at: int) -> bool:
    return at >= spot.low and bool(service.events.iterations(spot.series, newest=1, low=at, high=at))


def _beyond(service: Service, spot: _Spot, at: int, earlier: bool) -> int | None:
    """The iteration of the spot that is nearest to ``at``, before or after it."""
    low, high = (spot.low, at - 1) if earlier else (max(spot.low, at + 1), None)
    return _first(service.events.iterations(spot.series, newest=1, low=low, high=high, up=not earlier))


def _newest(service: Service, spot: _Spot, iteration: int | None) -> int | None:
    return _first(service.events.iterations(spot.series, newest=1, low=spot.low, high=iteration))


def _first(iterations: Iterable[int]) -> int | None:
    return next(iter(iterations), None)


def _events(service: Service, spot: _Spot, at: int) -> list[dict[str, Any]]:
    return [event for series in spot.series for event in one_each(service.events.reports([series], low=at, high=at))]
