"""Images and plots: the newest iterations, navigation, one sample at a time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.clearml_server.api.reads.scrolls import MAX_SCROLLS, Scrolls
from tests.clearml_server.asking import NOW, Asked, asking, image, plot
from tests.clearml_server.test_reads_lines import scrolled


def shown(answer: dict[str, Any]) -> list[tuple[int, list[str]]]:
    """(iteration, what was shown) of the first task."""
    [task] = answer["metrics"]
    return [(page["iter"], [e.get("url") or e["plot_str"] for e in page["events"]]) for page in task["iterations"]]


@given(st.dictionaries(st.integers(-3, 30), st.sampled_from(["a", "ab", "b"]), max_size=20), st.integers(1, 6))
def test_navigation_goes_through_every_iteration_both_ways(iterations: dict[int, str], iters: int) -> None:
    with asking() as ask:
        ask.add(*(image(at, f"{v}{at}", variant=v) for at, variants in iterations.items() for v in variants))
        question: dict[str, Any] = {"metrics": [{"task": "t"}], "iters": iters}
        answer = ask("debug_images", **question)
        seen: list[int] = []
        while page := [iteration for iteration, _ in shown(answer)]:
            assert page == sorted(page, reverse=True)
            seen += page
            answer = ask("debug_images", **question, scroll_id=answer["scroll_id"])
        assert seen == sorted(iterations, reverse=True)
        back = seen[(len(seen) - 1) // iters * iters :]
        later = {"scroll_id": answer["scroll_id"], "navigate_earlier": False}
        while page := [iteration for iteration, _ in shown(ask("debug_images", **question, **later))]:
            back = page + back
        assert back == seen


def test_a_refresh_shows_what_came_since() -> None:
    with asking() as ask:
        ask.add(plot(1), plot(2))
        question: dict[str, Any] = {"metrics": [{"task": "t"}]}
        first = ask("plots", **question)
        ask.add(plot(5, metric="later"), plot(3))
        on = ask("plots", **question, scroll_id=first["scroll_id"], navigate_earlier=False)
        assert shown(on) == [(3, ["[3]"])], "a metric that was not there is not seen"
        assert shown(ask("plots", **question, scroll_id=first["scroll_id"], refresh=True)) == [(5, ["[5]"])]
        assert shown(ask("plots", **question, scroll_id="unknown")) == [(5, ["[5]"])]
        of_images = ask("debug_images", **question, scroll_id=first["scroll_id"])
        assert of_images["scroll_id"] != first["scroll_id"]


def test_images_whose_url_was_used_again_are_hidden() -> None:
    with asking() as ask:
        ask.add(*(image(at, f"ring{at % 3}") for at in range(8)), image(8, "", variant="none"))
        answer = ask("debug_images", metrics=[{"task": "t", "metric": "i"}], iters=10)
        assert shown(answer) == [(7, ["ring1"]), (6, ["ring0"]), (5, ["ring2"])]
        sample = ask("get_debug_image_sample", task="t", metric="i", variant="a", iteration=0)
        assert (sample["event"], sample["min_iteration"], sample["max_iteration"]) == (None, 5, 7)


def test_filters_and_the_last_of_several_images_of_one_iteration() -> None:
    with asking() as ask:
        ask.add(image(1, "u1", key="k1"), image(1, "u2", key="k2"), image(1, "v", variant="b"), image(1, "w", "j"))
        wanted = [{"task": "t", "metric": "i", "variants": ["a"]}]
        assert shown(ask("debug_images", metrics=wanted)) == [(1, ["u2"])]
        both = [*wanted, {"task": "t", "metric": "j"}, {"task": "u"}]
        tasks = ask("debug_images", metrics=both)["metrics"]
        assert [(task["task"], len(task["iterations"])) for task in tasks] == [("t", 1), ("u", 0)]
        assert [event["url"] for event in tasks[0]["iterations"][0]["events"]] == ["u2", "w"]
        for bad in ([], None, ["t"], [{"metric": "i"}]):
            assert ask.refusal("debug_images", metrics=bad) == (400, 12)
        assert ask.refusal("debug_images", metrics=[{"task": "zz"}]) == (400, 101)
        assert ask.refusal("debug_images", metrics=[{"task": "t"}], iters=0) == (400, 12)


def walk(ask: Asked, name: str, scroll_id: str, **data: Any) -> list[tuple[int, str, str]]:
    """Places that next_* gives until the end."""
    places: list[tuple[int, str, str]] = []
    while True:
        answer = ask(name, task="t", scroll_id=scroll_id, **data)
        events = [answer["event"]] if answer.get("event") else answer.get("events", [])
        if not events:
            assert (answer["min_iteration"], answer["max_iteration"], answer["scroll_id"]) == (None, None, scroll_id)
            return places
        places.append((events[0]["iter"], events[0]["metric"], events[0]["variant"]))


@given(
    st.sets(st.tuples(st.integers(0, 5), st.sampled_from("xy"), st.sampled_from("ab")), min_size=1, max_size=15),
    st.booleans(),
)
def test_samples_go_through_every_image_in_order(places: set[tuple[int, str, str]], current: bool) -> None:
    with asking() as ask:
        ask.add(*(image(at, f"{at}{metric}{variant}", metric, variant) for at, metric, variant in places))
        at, metric, variant = max(places)
        first = ask("get_debug_image_sample", task="t", metric=metric, variant=variant, navigate_current_metric=current)
        assert first["event"]["iter"] == at
        seen = sorted(place for place in places if not current or place[1] == metric)
        down = walk(ask, "next_debug_image_sample", first["scroll_id"])
        assert [*down[::-1], max(places)] == seen
        up = walk(ask, "next_debug_image_sample", first["scroll_id"], navigate_earlier=False)
        assert [min(seen), *up] == seen


def test_next_iteration_leaves_out_what_is_beside() -> None:
    with asking() as ask:
        ask.add(*(image(at, f"{at}{v}", variant=v) for at in (1, 2) for v in "abc"))
        scroll = ask("get_debug_image_sample", task="t", metric="i", variant="b")["scroll_id"]
        assert walk(ask, "next_debug_image_sample", scroll, next_iteration=True) == [(1, "i", "c")]


def test_plot_samples_hold_all_variants_of_a_metric() -> None:
    with asking() as ask:
        ask.add(plot(1), plot(1, variant="b"), plot(2, variant="b"), plot(2, "q"), plot(4))
        first = ask("get_plot_sample", task="t", metric="p", iteration=1, navigate_current_metric=False)
        assert [(event["iter"], event["variant"]) for event in first["events"]] == [(1, "a"), (1, "b")]
        assert (first["min_iteration"], first["max_iteration"]) == (1, 4)
        later = walk(ask, "next_plot_sample", first["scroll_id"], navigate_earlier=False)
        assert later == [(2, "p", "b"), (2, "q", "a"), (4, "p", "a")]


def test_samples_refuse_what_is_not_theirs() -> None:
    with asking() as ask:
        ask.add(image(1, "u"), plot(1))
        scroll = ask("get_debug_image_sample", task="t", metric="i", variant="a")["scroll_id"]
        assert ask.refusal("next_debug_image_sample", task="u", scroll_id=scroll) == (400, 1104)
        assert ask.refusal("next_debug_image_sample", task="t") == (400, 1104)
        assert ask.refusal("next_plot_sample", task="t", scroll_id=scroll) == (400, 1104)
        other = {"task": "t", "metric": "other", "variant": "a", "scroll_id": scroll}
        assert ask.refusal("get_debug_image_sample", **other) == (400, 1104)
        nothing = ask("get_debug_image_sample", task="t", metric="i", variant="zz")
        assert walk(ask, "next_debug_image_sample", nothing["scroll_id"]) == []
        ask.add(image(3, "u3"))
        fresh = ask("get_debug_image_sample", task="t", metric="i", variant="a", scroll_id=scroll, refresh=True)
        assert (fresh["max_iteration"], fresh["scroll_id"]) == (3, scroll)


def test_plots_of_a_task_by_variant_of_several_by_metric() -> None:
    with asking() as ask:
        ask.add(plot(1), plot(2), plot(1, variant="b"), plot(7, "q"), plot(5, task="u"))
        newest = ask("get_task_plots", task="t")
        assert [(p["metric"], p["variant"], p["iter"]) for p in newest["plots"]] == [
            ("p", "a", 2), ("p", "b", 1), ("q", "a", 7)
        ]  # fmt: skip
        assert (newest["returned"], newest["total"], newest["scroll_id"]) == (3, 3, None)
        many = ask("get_multi_task_plots", tasks=["t", "u"], no_scroll=True)
        assert many["plots"]["p"]["a"]["u"]["5"]["name"] == "name of u"
        assert {
            m: {v: {t: list(i) for t, i in ts.items()} for v, ts in vs.items()} for m, vs in many["plots"].items()
        } == {
            "p": {"a": {"t": ["2"], "u": ["5"]}},
            "q": {"a": {"t": ["7"]}},
        }
        assert (many["returned"], many["total"], many["scroll_id"]) == (2, 3, None)
        whole = ask("get_multi_task_plots", tasks=["t"], last_iters_per_task_metric=False)
        assert list(whole["plots"]) == ["q"]
        assert ask.refusal("get_task_plots", task="t", iters=0) == (400, 12)


@pytest.mark.parametrize(
    ("name", "version", "field", "expected"),
    [
        ("debug_images", "1.5", "images", [(7, "b"), (7, "a"), (6, "a")]),
        ("debug_images", "2.1", "images", [(7, "b"), (7, "a"), (6, "a")]),
        ("get_task_plots", "1.0", "plots", [(3, "a"), (2, "a"), (1, "b")]),
    ],
)
def test_pages_of_older_versions(name: str, version: str, field: str, expected: list[tuple[int, str]]) -> None:
    with asking() as ask:
        ask.add(*(image(at, f"{at}") for at in range(8)), image(7, "b7", variant="b"))
        ask.add(*(plot(at) for at in range(4)), plot(1, variant="b"))
        events = scrolled(ask, name, version, field, task="t", iters=2)
        assert sorted(((e["iter"], e["variant"]) for e in events), reverse=True) == expected
        assert ask.refusal(name, version, task="t", scroll_id="zz") == (400, 1104)


def test_pages_of_many_images() -> None:
    with asking() as ask:
        ask.add(*(image(at, f"{at}", timestamp=NOW) for at in range(1_100)))
        assert len(scrolled(ask, "debug_images", "2.1", "images", task="t", iters=1_050)) == 1_050


def test_scrolls_are_bounded_in_number_and_age() -> None:
    now = 0.0
    scrolls = Scrolls(lambda: now)
    used = scrolls.put("first")
    for number in range(MAX_SCROLLS):
        scrolls.put(str(number))
    assert scrolls.get(used, str) is None
    recent = scrolls.put("recent")
    assert scrolls.get(recent, int) is None, "another endpoint's"
    now = 3_601
    assert scrolls.get(recent, str) is None
