"""Laws of reading: a histogram equals the plain one; pages put together are the whole, in order, without repeats."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.clearml_server.store import IMAGE, LOG, SCALAR, SINGLE_VALUE, Bounds, Position, SqliteStore
from tests.clearml_server.store.naive import NOW, TASK, buckets, events, fresh, iterations

Event = dict[str, Any]
values = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-100, 100), st.sampled_from([1e38, 1e39, 1e300]))


@given(st.dictionaries(iterations, values, max_size=30), st.integers(1, 40))
def test_a_histogram_by_iteration_is_the_plain_one(points: dict[int, float | None], interval: int) -> None:
    with fresh() as store:
        sent = [_point(x, value) for x, value in points.items()] + [_point(None, 5)]
        store.events.add(sent, worker="w", now_ms=NOW)
        [series] = store.events.series([TASK])
        series_points = {x: value for x, value in points.items() if x != SINGLE_VALUE}
        x, y = store.events.histogram(series, "iter", interval)
        expected = buckets(series_points.items(), interval)
        assert x == [max(key, -(2**63)) for key in expected]
        assert y == [None if of is None else pytest.approx(of, rel=1e-6, abs=1e-9) for of in expected.values()]
        ends = (min(series_points), max(series_points)) if series_points else (None, None)
        assert store.events.bounds([series], "iter") == [Bounds(len(series_points), *ends)]


@given(st.lists(st.tuples(st.integers(-50, 50), values), min_size=1, max_size=30), st.integers(1, 40))
def test_a_histogram_by_time_is_the_plain_one(points: list[tuple[int, float | None]], interval: int) -> None:
    with fresh() as store:
        sent = [_point(number, value, NOW + time) for number, (time, value) in enumerate(points)]
        store.events.add(sent, worker="w", now_ms=NOW)
        [series] = store.events.series([TASK])
        expected = buckets(((NOW + time, value) for time, value in points), interval)
        x, y = store.events.histogram(series, "timestamp", interval)
        assert x == list(expected)
        assert y == [None if of is None else pytest.approx(of, rel=1e-6, abs=1e-9) for of in expected.values()]
        times = [NOW + time for time, _ in points]
        assert store.events.bounds([series], "timestamp") == [Bounds(len(points), min(times), max(times))]


def _point(iteration: int | None, value: float | None, time: float = NOW) -> Event:
    event = {"type": SCALAR, "task": "t", "metric": "m", "variant": "v", "value": value, "timestamp": time}
    return event if iteration is None else event | {"iter": iteration}


@given(st.lists(events, max_size=40), st.integers(1, 50), st.booleans())
def test_pages_of_events_are_the_whole_once_and_in_order(sent: list[Event], limit: int, descending: bool) -> None:
    with fresh() as store:
        store.events.add(sent, worker="w", now_ms=NOW)
        series = store.events.series([TASK])
        whole = store.events.page(series, limit=10**6, descending=descending).events
        together: list[Event] = []
        after: Position | None = None
        while True:
            page = store.events.page(series, limit=limit, descending=descending, after=after)
            assert page.total == len(whole)
            if not page.events:
                break
            ends = {event.get("iter") for event in together[-1:]} - {None}
            assert not ends & {event.get("iter") for event in page.events}, "an iteration is on two pages"
            together += page.events
            after = page.end
        assert together == whole
        numbered = [event["iter"] for event in whole if event.get("iter") is not None]
        assert numbered == sorted(numbered, reverse=descending)
        assert all(event.get("iter") is None for event in whole[len(numbered) :])


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(1, 8), st.booleans(), st.booleans())
def test_pages_of_lines_are_the_whole_log(times: list[int], limit: int, descending: bool, complete: bool) -> None:
    with fresh() as store:
        sent = [{"type": LOG, "task": "t", "msg": str(n), "timestamp": NOW + ms} for n, ms in enumerate(times)]
        store.events.add(sent, worker="w", now_ms=NOW)
        together: list[str] = []
        after: tuple[float, int] | None = None
        while True:
            page, after = store.events.log(TASK, descending=descending, after=after, limit=limit, complete=complete)
            assert page.total == len(times)
            if not page.events:
                break
            assert complete or len(page.events) <= limit
            together += [line["msg"] for line in page.events]
        expected = sorted(range(len(times)), key=lambda n: (times[n], n), reverse=descending)
        assert together == [str(n) for n in expected]


@given(st.dictionaries(st.integers(-3, 30), st.sampled_from("abc"), max_size=20), st.integers(1, 5))
def test_the_newest_iterations_of_reports(urls: dict[int, str], newest: int) -> None:
    with fresh() as store:
        sent = [
            {"type": IMAGE, "task": "t", "metric": "i", "variant": "v", "iter": at, "url": url}
            for at, url in urls.items()
        ]
        store.events.add(sent, worker="w", now_ms=NOW)
        for series in store.events.series([TASK]):
            expected = sorted(urls, reverse=True)
            assert store.events.iterations([series], newest=newest) == expected[:newest]
            assert (
                store.events.iterations([series], newest=newest, low=3, up=True)
                == [n for n in sorted(urls) if n >= 3][:newest]
            )
            assert [event["iter"] for event in store.events.reports([series], newest=newest)] == expected[:newest]
            last = {url: max(at for at, of in urls.items() if of == url) for url in urls.values()}
            assert store.events.bounds([series], "iter") == [Bounds(len(last), min(last.values()), max(urls))]
            same = sorted((at for at, of in urls.items() if of == urls[max(urls)]), reverse=True)
            assert store.events.overwritten(series) == (same[1] if len(same) > 1 else None)


def test_single_values_are_no_points_of_a_series(store: SqliteStore) -> None:
    store.events.add([_point(SINGLE_VALUE, 7), _point(1, 8)], worker="w", now_ms=NOW)
    series = store.events.series([TASK])
    assert [event and event["value"] for event in store.events.points(series, SINGLE_VALUE)] == [7]
    assert store.events.histogram(series[0], "iter", 1) == ([1], [8.0])
    assert store.events.bounds(series, "timestamp") == [Bounds(1, NOW, NOW)]
    assert [event["iter"] for event in store.events.page(series).events] == [SINGLE_VALUE, 1]


def test_an_unbroken_series_of_many_pages_in_few_rows_at_a_time(store: SqliteStore) -> None:
    sent = [
        {"type": SCALAR, "task": "t", "metric": f"m{n % 5}", "variant": "v", "iter": n * 1000, "value": n}
        for n in range(5_000)
    ]
    store.events.add(sent, worker="w", now_ms=NOW)
    series = store.events.series([TASK])
    page = store.events.page(series, limit=7, after=Position(2_000_000))
    assert [event["iter"] for event in page.events] == [n * 1000 for n in range(2001, 2008)]
    assert page.end == Position(2_007_000)
