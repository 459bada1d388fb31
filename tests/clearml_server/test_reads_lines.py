"""All events and the log in pages, old and new; downloads; deletion."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clearml_server.asking import NOW, Asked, asking, image, line, plot, scalar


def scrolled(ask: Asked, name: str, version: str, field: str, **data: Any) -> list[dict[str, Any]]:
    """All pages of a scroll, put together."""
    together: list[dict[str, Any]] = []
    answer = ask(name, version, **data)
    while answer[field]:
        together += answer[field]
        answer = ask(name, version, **data, scroll_id=answer["scroll_id"])
    again = ask(name, version, **data, scroll_id=answer["scroll_id"])
    assert again[field] == [], "a scroll that has ended stays at its end"
    return together


@given(
    st.lists(st.integers(-2, 4), max_size=20), st.integers(0, 10), st.integers(1, 12), st.sampled_from(["asc", "desc"])
)
def test_task_events_end_also_at_iteration_0_and_with_lines_that_have_none(
    iterations: list[int], lines: int, batch: int, order: str
) -> None:
    with asking() as ask:
        ask.add(*(scalar(at, n, variant=str(n)) for n, at in enumerate(iterations)))
        ask.add(*(line(f"line {n}", timestamp=NOW + n) for n in range(lines)))
        events = scrolled(ask, "get_task_events", "2.34", "events", task="t", batch_size=batch, order=order)
        numbered = [event["iter"] for event in events if "iter" in event]
        assert numbered == sorted(iterations, reverse=order == "desc")
        assert [event["msg"] for event in events if "iter" not in event] == [f"line {n}" for n in range(lines)]


def test_sizes_of_pages_have_bounds() -> None:
    with asking() as ask:
        ask.add(*(scalar(at, at) for at in range(10_050)))
        assert ask("get_task_events", task="t", batch_size=0)["returned"] == 0
        assert ask("get_task_events", task="t", batch_size=50_000)["returned"] == 10_000
        assert ask.refusal("get_task_events", task="t", batch_size=-1) == (400, 12)
        raw = ask("scalar_metrics_iter_raw", task="t", metric={"metric": "m"}, batch_size=10**9)
        assert raw["returned"] == 10_050


def test_events_of_one_type_and_of_some_metrics() -> None:
    with asking() as ask:
        ask.add(scalar(1, 1), scalar(1, 1, "n"), plot(2), image(3, "u"), scalar(4, 4, task="m", model_event=True))
        answer = ask("get_task_events", task="t", event_type="plot", count_total=False)
        assert ([event["type"] for event in answer["events"]], answer["total"]) == (["plot"], None)
        chosen = ask("get_task_events", task="t", metrics=[{"metric": "n"}, {"metric": "i", "variants": ["zz"]}])
        assert [event["metric"] for event in chosen["events"]] == ["n"]
        assert [e["model_event"] for e in ask("get_task_events", task="m", model_events=True)["events"]] == [True]


@given(st.lists(st.integers(0, 6), max_size=20), st.integers(1, 7), st.booleans())
def test_the_log_from_time_to_time_is_the_whole_log(times: list[int], batch: int, earlier: bool) -> None:
    with asking() as ask:
        ask.add(*(line(str(n), timestamp=NOW + ms) for n, ms in enumerate(times)))
        together: list[int] = []
        question: dict[str, Any] = {"task": "t", "batch_size": batch, "navigate_earlier": earlier}
        answer = ask("get_task_log", **question)
        while answer["events"]:
            assert answer["total"] == len(times)
            assert answer["returned"] == len(answer["events"])
            together += [int(event["msg"]) for event in answer["events"]]
            answer = ask("get_task_log", **question, from_timestamp=answer["events"][-1]["timestamp"])
        assert together == sorted(range(len(times)), key=lambda n: (times[n], n), reverse=earlier)


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("earlier", [True, False])
def test_the_order_only_turns_the_page(order: str, earlier: bool) -> None:
    with asking() as ask:
        ask.add(*(line(str(n), timestamp=NOW + n) for n in range(6)))
        page = ask("get_task_log", task="t", batch_size=2, navigate_earlier=earlier, order=order)["events"]
        expected = ["4", "5"] if earlier else ["0", "1"]
        assert [event["msg"] for event in page] == (expected if order == "asc" else expected[::-1])


@pytest.mark.parametrize(
    ("version", "more", "expected"),
    [
        ("1.5", {}, "43210"),
        ("1.5", {"order": "asc"}, "01234"),
        ("1.7", {"from": "head", "order": "asc"}, "01234"),
        ("1.7", {"from": "tail"}, "43210"),
        ("1.7", {}, "10" + "32" + "4"),
        ("1.7", {"from": "tail", "order": "asc"}, "34" + "12" + "0"),
    ],
)
def test_old_logs_scroll(version: str, more: dict[str, str], expected: str) -> None:
    with asking() as ask:
        ask.add(*(line(str(n), timestamp=NOW + n) for n in range(5)))
        lines = scrolled(ask, "get_task_log", version, "events", task="t", batch_size=2, **more)
        assert "".join(event["msg"] for event in lines) == expected


def test_a_scroll_that_was_cleared_or_never_was_is_told() -> None:
    with asking() as ask:
        ask.add(line("a"), line("b"))
        scroll = ask("get_task_log", "1.5", task="t", batch_size=1)["scroll_id"]
        assert ask("clear_scroll", scroll_id=scroll) == ask("clear_scroll") == ask("clear_scroll", scroll_id="zz") == {}
        assert ask.refusal("get_task_log", "1.5", task="t", scroll_id=scroll) == (400, 1104)


def downloaded(ask: Asked, **data: Any) -> str:
    attachment = ask.raw("download_task_log", task="t", **data)
    assert (attachment.name, attachment.media_type) == ("task_t.log", "text/plain")
    return b"".join(attachment.pieces).decode()


def test_the_log_as_a_file() -> None:
    with asking() as ask:
        ask.add(line("a {b}", level="INFO", timestamp=NOW + 1), line("no level"))
        assert [json.loads(text) for text in downloaded(ask).splitlines()][1] == {
            "msg": "a {b}",
            "level": "INFO",
            "worker": "w",
            "model_event": False,
            "@timestamp": "2023-11-14T22:13:20.000Z",
            "metric": "",
            "variant": "",
            "asctime": NOW + 1,
        }
        assert downloaded(ask, line_type="text") == f"{NOW} w  no level\n{NOW + 1} w INFO a {{b}}\n"
        assert downloaded(ask, line_type="?", line_format="{{{timestamp!r:>99}}} {msg}").startswith(
            f"{{{NOW}}} no level"
        )
        for bad, code in (("", 11), ("{bad}", 16), ("{msg.__class__}", 16), ("{msg", 16), ("{}", 16)):
            assert ask.refusal("download_task_log", task="t", line_type="text", line_format=bad) == (400, code)


def test_a_published_task_keeps_its_events_unless_told() -> None:
    with asking() as ask:
        ask.add(scalar(1, 1), line("x"), scalar(1, 1, task="m", model_event=True))
        ask.store.documents.change("task", "t", lambda task: task | {"status": "published"})
        ask.store.documents.change("model", "m", lambda model: model | {"ready": True})
        for name, field, key, code in (
            ("delete_for_task", "task", "t", 101),
            ("clear_task_log", "task", "t", 101),
            ("delete_for_model", "model", "m", 201),
        ):
            assert ask.refusal(name, **{field: key}) == (400, code)
            assert ask.refusal(name, **{field: "zz"}) == (400, code)
            deleted = ask(name, **{field: key}, allow_locked=True)["deleted"]
            assert deleted == (2 if name == "delete_for_task" else 0 if name == "clear_task_log" else 1)
        assert ask("get_task_events", task="t")["total"] == 0


def test_old_lines_are_cleared() -> None:
    with asking() as ask:
        ask.add(line("old", timestamp=NOW - 10_000), line("new", timestamp=NOW - 1_000), line("m", metric="x"))
        assert ask("clear_task_log", task="t", threshold_sec=5) == {"deleted": 1}
        assert ask("clear_task_log", task="t", exclude_metrics=["x"]) == {"deleted": 1}
        assert ask("clear_task_log", task="t", include_metrics=["x"], threshold_sec=0) == {"deleted": 1}
        assert ask.refusal("clear_task_log", task="t", include_metrics=[5]) == (400, 12)
