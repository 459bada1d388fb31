"""What a question of get_all means: lists with operators, times, names; pages and scrolls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.clearml_server.api.base import ApiError
from otel_events.clearml_server.api.filters import conditions
from tests.clearml_server.asking import asking, scalar
from tests.clearml_server.test_tasks import Client, names


def fits(document: dict[str, Any], **question: Any) -> bool:
    return all(test(document) for test in conditions(question))


@pytest.mark.parametrize(
    ("asked", "fitting"),
    [
        (["a"], ["a", "ab", "abc"]),
        (["a", "c"], ["a", "ab", "abc", "c"]),
        (["__$any", "b", "c"], ["ab", "abc", "c"]),
        (["__$all", "a", "b"], ["ab", "abc"]),
        (["__$and", "a", "__$not", "c"], ["a", "ab"]),
        (["__$not", "a"], ["c", ""]),
        (["-a"], ["c", ""]),
        (["-a", "c"], ["c"]),
        (["a", "-b"], ["a"]),
        (["__$or", "b", "__$not", "a"], ["ab", "abc", "c", ""]),
        (["__$all", "a", "b", "__$nop", "c"], ["abc"]),
        ([None], [""]),
        ([None, "c"], ["abc", "c", ""]),
        ("c", ["abc", "c"]),
        ([], ["a", "ab", "abc", "c", ""]),
    ],
)
def test_lists(asked: Any, fitting: list[str]) -> None:
    documents = {name: {"tags": list(name)} for name in ("a", "ab", "abc", "c", "")}
    assert [name for name, document in documents.items() if fits(document, tags=asked)] == fitting


@pytest.mark.parametrize("asked", [["__$not"], ["__$not", "__$all", "a"], ["__$none", "a"], [1]])
def test_a_list_that_cannot_be_meant_is_400_16(asked: list[Any]) -> None:
    with pytest.raises(ApiError) as raised:
        fits({}, tags=asked)
    assert (raised.value.code, raised.value.subcode) == (400, 16)


def test_fields_of_one_value_and_within() -> None:
    task = {
        "status": "failed",
        "hyperparams": {"Args": {"lr": {"value": "0.1"}}},
        "models": {"input": [{"model": "m"}]},
    }
    assert fits(task, status=["failed", "stopped"])
    assert not fits(task, status=["__$not", "failed"])
    assert fits(task, **{"hyperparams.Args.lr.value": ["0.1"], "models.input.model": ["m"]})
    assert not fits(task, **{"models.input.model": ["other"]})
    assert fits(task, parent=[None])
    assert fits(task, whatever=["x"])  # no field of a question


@pytest.mark.parametrize(
    ("asked", "fitting"),
    [
        ([">=2026-01-02"], True),
        ([">2026-01-02T00:00:00+00:00"], False),
        (["<2026-01-02T01:00:00+01:00"], False),
        ("<=2026-01-02", True),
        (["2026-01-01", "2026-01-03"], True),
        (["2026-01-03", None], False),
        (["2026-01-02T00:00:00Z"], True),
    ],
)
def test_times(asked: Any, fitting: bool) -> None:
    document = {"created": "2026-01-02T00:00:00.000000+00:00"}
    assert fits(document, created=asked) is fitting
    assert not fits({}, created=asked)


@pytest.mark.parametrize(
    ("pattern", "fitting"),
    [
        ("^a.b$", ["a.b", "axb"]),
        (r"^a\.b$", ["a.b"]),
        (r"^a\ \-\ b/c$", ["a - b/c"]),
        ("b", ["a.b", "axb", "a - b/c"]),
        ("^(a.b|a.b/.*)$", ["a.b", "axb"]),
        (r"^axb(| #\d+)$", ["axb"]),
        ("A", []),
        ("[)]*x{1}", ["axb"]),
    ],
)
def test_names(pattern: str, fitting: list[str]) -> None:
    assert [name for name in ("a.b", "axb", "a - b/c") if fits({"name": name}, name=pattern)] == fitting


NEVER = (
    *("(a+)+$", "((a|b)*x)*", "(?:a|aa)+$", "(a*){9}", ".*.*.*x", "(.*.*)*", "([(]a*)+", "(a?){30}a{30}"),
    *("a?" * 30 + "a" * 30, "(a|aa)" * 30 + "x"),
)


@pytest.mark.parametrize("pattern", NEVER)
def test_a_search_that_may_never_end_is_400_12(pattern: str) -> None:
    for name in ("name", "_any_"):
        question: dict[str, Any] = {name: {"fields": ["name"], "pattern": pattern} if name == "_any_" else pattern}
        with pytest.raises(ApiError) as raised:
            fits({"name": "a" * 256}, **question)
        assert (raised.value.code, raised.value.subcode) == (400, 12)


@given(st.text("ab()|*+?{}[]^$.\\1,", max_size=20))
def test_what_may_be_asked_is_answered_soon(pattern: str) -> None:
    with suppress(ApiError):  # hypothesis holds each example to its deadline
        fits({"name": "ab" * 128}, name=pattern)


@given(st.text(max_size=10), st.text(max_size=10))
def test_an_exact_name_is_that_name(name: str, other: str) -> None:
    pattern = f"^{re.escape(name)}$"
    assert fits({"name": name}, name=pattern)
    assert fits({"name": other}, name=pattern) is (name == other)


@given(st.lists(st.sampled_from(["__$all", "__$any", "__$not", "__$nop", "-a", "a", "b", None]), max_size=6))
def test_any_list_is_a_question_or_400(asked: list[str | None]) -> None:
    with suppress(ApiError):
        for document in ({}, {"tags": ["a"]}, {"tags": ["a", "b"]}):
            assert fits(document, tags=asked) in (True, False)


@pytest.fixture
def client() -> Iterator[Client]:
    with asking() as asked:
        yield Client(asked)


def test_a_scroll_shows_each_once(client: Client) -> None:
    for index in range(5):
        client.task(f"n{index}", tags=["s"])
    question = {"tags": ["s"], "size": 2, "order_by": ["name"]}
    first = client("tasks.get_all_ex", scroll_id=None, **question)
    again = client("tasks.get_all_ex", scroll_id=first["scroll_id"], **question)
    last = client("tasks.get_all_ex", scroll_id=first["scroll_id"], **question)
    pages = [[task["name"] for task in answer["tasks"]] for answer in (first, again, last)]
    assert pages == [["n0", "n1"], ["n2", "n3"], ["n4"]]
    assert client("tasks.get_all_ex", scroll_id=first["scroll_id"], **question)["tasks"] == []
    whole = client("tasks.get_all_ex", scroll_id=first["scroll_id"], refresh_scroll=True, **question)
    assert len(whole["tasks"]) == 5
    assert client.refusal("tasks.get_all_ex", scroll_id=None) == (400, 12)


def test_pages_are_bounded(client: Client) -> None:
    for index in range(501):
        client.asked.store.documents.put("task", f"x{index}", {"id": f"x{index}", "name": "x"})
    assert len(client("tasks.get_all", name="x", only_fields=["id"])["tasks"]) == 500
    assert len(client("tasks.get_all", name="x", only_fields=["id"], page=1, page_size=500)["tasks"]) == 1


def test_the_order_may_be_that_of_a_metric(client: Client) -> None:
    tasks = {name: client.task(name, tags=["s"]) for name in ("low", "high", "none")}
    client.asked.add(scalar(1, 0.5, task=tasks["low"]), scalar(1, 11.5, task=tasks["high"]))
    (metric, variants), *_ = client.show(tasks["low"])["last_metrics"].items()
    field = f"last_metrics.{metric}.{next(iter(variants))}.value"
    assert names(client, tags=["s"], order_by=[f"-{field}"]) == ["high", "low", "none"]
    assert names(client, tags=["s"], order_by=["-last_iteration", "name"])[-1] == "none"


def test_hidden_tasks_are_shown_when_they_are_asked_for(client: Client) -> None:
    hidden = client.task("h", system_tags=["hidden"])
    assert names(client, name="^h$") == []
    assert names(client, name="^h$", search_hidden=True) == ["h"]
    assert names(client, id=[hidden]) == ["h"]
