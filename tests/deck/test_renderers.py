"""What is put into a deck -> parts: bounded, redacted, and never an error in the task."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.deck import Markdown, Text, register, renderers
from otel_events.deck.parts import CELL, COLUMNS, LARGEST, LONGEST, ROWS, Failure, Foreign, Plain, Plot, Prose, Table
from otel_events.deck.renderers import FAULT, plot, render
from otel_events.inprocess.faults import faults

SECRET = "password=hunter2-hunter2"  # noqa: S105 - what is looked for


class Offers:
    def _repr_html_(self) -> str:
        return f"<b>{SECRET}</b>"


class Broken:
    def _repr_html_(self) -> str:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("<b>x</b>", Foreign(html="<b>x</b>")),
        (Text("<b>"), Plain(text="<b>")),
        (Markdown("*a* <b>"), Prose(html="<p><em>a</em> &lt;b&gt;</p>\n")),
        (3, Plain(text="3")),
        (None, Plain(text="None")),
        ([1, 2], Plain(text="[1, 2]")),
        ([{"a": 1, "b": "x"}, {"a": 2}], Table(heads=["a", "b"], rows=[["1", "x"], ["2", ""]], numeric=[True, False])),
        ({"k": [1]}, Table(heads=("key", "value"), rows=[["k", "[1]"]])),
        ([], Plain(text="[]")),
    ],
)
def test_what_shows_as_what(content: Any, part: Any) -> None:
    assert render(content) == part
    assert faults() == {}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text() | st.binary(),
        lambda c: st.lists(c) | st.dictionaries(st.text(), c),
    )
)
def test_any_value_shows_and_nothing_is_raised(content: Any) -> None:
    assert not isinstance(render(content), Failure)


def test_a_renderer_that_fails_is_counted_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        assert render(Broken()) == Failure(reason="could not be rendered: RuntimeError")
    assert faults() == {FAULT: 3}
    assert len([one for one in caplog.records if FAULT in one.getMessage()]) == 1


@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        Text(SECRET),
        Markdown(SECRET),
        [{"password": "hunter2-hunter2"}],
        {"password": "hunter2-hunter2"},
        Offers(),
        [SECRET],
        {"a": {"api_key": "hunter2-hunter2"}},
    ],
)
def test_secrets_are_redacted(content: Any) -> None:
    told = str(render(content))
    assert "hunter2" not in told
    assert "[redacted]" in told


def test_sizes_are_capped_and_the_page_says_so() -> None:
    assert isinstance(render("x" * (LARGEST + 1)), Failure)
    long = render(Text("x" * (LONGEST + 1)))
    assert isinstance(long, Plain)
    assert (len(long.text), long.note) == (LONGEST, f"The first {LONGEST:,} of {LONGEST + 1:,} characters.")
    wide = render([{str(column): "y" * (CELL + 1) for column in range(COLUMNS + 1)}] * (ROWS + 1))
    assert isinstance(wide, Table)
    assert (len(wide.rows), len(wide.heads), len(wide.rows[0][0])) == (ROWS, COLUMNS, CELL)
    assert wide.note == f"The first {ROWS} of {ROWS + 1} rows and {COLUMNS} of {COLUMNS + 1} columns."


class Model:
    pass


@pytest.fixture
def registered() -> Iterator[None]:
    yield
    renderers._own.clear()


@pytest.mark.usefixtures("registered")
def test_a_renderer_of_the_users() -> None:
    register(Model, lambda model: Text("a model"))
    assert render(type("Derived", (Model,), {})()) == Plain(text="a model")
    register(Model, lambda model: f"<b>{1 / 0}</b>")
    assert render(Model()) == Failure(reason="could not be rendered: ZeroDivisionError")
    with pytest.raises(TypeError, match="takes a class"):
        register("Model", str)


def test_figures_of_plotly_are_read_as_json() -> None:
    found = plot(
        '{"data": [{"type": "scattergl", "y": [1], "name": "password=hunter2-hunter2"}], "layout": {"height": 9e9}}'
    )
    assert isinstance(found, Plot)
    assert '"type":"scatter"' in found.json
    assert "hunter2" not in found.json
    assert found.height == 2000
    for wrong in ("[]", "{}", '{"data": 1}'):
        with pytest.raises(ValueError, match="no figure"):
            plot(wrong)


def test_no_library_is_imported_to_look() -> None:
    script = (
        "import sys; from otel_events.deck.renderers import render; render(object()); render([{}]); print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"pandas", "polars", "matplotlib", "plotly", "jinja2", "markdown_it"}.isdisjoint(loaded)
