"""The file: whatever is in it stays text, only scripts of ours are allowed, somebody's HTML is shut in a frame."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel_events.deck import Markdown, Text, document
from otel_events.deck.parts import Failure, Foreign, Page, Panel, Part, Picture, Plain, Plot, Table
from otel_events.deck.renderers import render
from tests.deck.conftest import Read

ATTACKS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title></style></textarea><img src=x onerror=alert(1)>",
    "\"'><svg onload=alert(1)>",
    "<!--",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\x00\x1b[2J\ud800",
)
hostile = st.one_of(st.sampled_from(ATTACKS), st.text(max_size=40)).map(lambda text: text.replace("\r", ""))
ELEMENTS = (
    "html head meta title style body header h1 nav a main section h2 "
    "div table thead tr th tbody td pre p script span dl dt dd"
).split()


def shown(*parts: Part, name: str = "deck", heading: document.Heading | None = None) -> Read:
    return Read(document.render(heading or document.Heading("t"), [Panel(name, parts)]))


@given(hostile, hostile, hostile)
def test_text_stays_text(one: str, two: str, three: str) -> None:
    parts = Plain(text=one), Table(heads=[two], rows=[[three]], links=True), Failure(reason=one)
    page = shown(*parts, name=two, heading=document.Heading(one, two, [(two, three)]))
    assert {name for name, _ in page.elements} <= {*ELEMENTS}
    assert len(page.scripts) == 1
    assert document.digest(page.scripts[0]) in page.policy
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]
    for text in (one, two, three):
        assert text.encode("utf-8", "replace").decode() in page.text


@given(hostile, hostile)
def test_markdown_holds_no_html_of_its_writer(one: str, two: str) -> None:
    page = shown(render(Markdown(f"# {one}\n\n{two} ![i](http://h/i.png) [l](javascript:alert)\n\n{one}")))
    assert {name for name, _ in page.elements}.isdisjoint({"img", "iframe", "svg", "object", "embed"})
    assert len(page.scripts) == 1
    assert not [link for link in page.all("a") if str(link.get("href", "")).lower().startswith("javascript:")]
    assert not [name for _, found in page.elements for name in found if name.startswith("on")]


@given(hostile)
def test_somebodys_html_is_in_a_frame_where_nothing_runs_and_nothing_loads(html: str) -> None:
    page = shown(Foreign(html=html))
    [frame] = page.all("iframe")
    assert frame["sandbox"] == ""
    inner = Read(str(frame["srcdoc"]))
    assert "script-src 'none'" in inner.policy
    assert "default-src 'none'" in inner.policy
    assert len(page.scripts) == 1


@pytest.mark.parametrize("tag", ["link", "META", "base", "link/", "meta\n"])
def test_what_no_policy_holds_back_becomes_text(tag: str) -> None:
    inner = Read(document.srcdoc(f"<{tag} href=http://h/ content='0;url=http://h/'>"))
    assert len(inner.all("meta")) == 3  # ours
    assert not inner.all("link")
    assert not inner.all("base")


@given(hostile, hostile)
def test_a_figure_cannot_end_its_script(one: str, two: str) -> None:
    told = msgspec.json.encode({"data": [{"name": one.encode("utf-8", "replace").decode()}], "layout": {}}).decode()
    page = shown(Plot(json=told, height=300), Plain(text=two))
    figures = [text for text in page.scripts if text.startswith("{")]
    assert figures == [told.replace("<", "\\u003c")]
    assert msgspec.json.decode(figures[0]) == msgspec.json.decode(told)


def test_the_policy_lets_nothing_in() -> None:
    page = shown(Plain(text="x"))
    told = dict(part.strip().partition(" ")[::2] for part in page.policy.split(";"))
    assert told["default-src"] == "'none'"
    assert told["script-src"] == f"'{document.digest(page.scripts[0])}'"
    assert (told["base-uri"], told["form-action"], told["img-src"]) == ("'none'", "'none'", "data:")
    assert "unsafe-inline" not in told["script-src"]
    assert not [found for _, found in page.elements if "src" in found or "http" in str(found.get("href"))]


def test_a_page_in_a_page_runs_its_own_scripts_alone() -> None:
    inner = document.render(document.Heading("in"), [Panel("a", [Foreign(html="<script>x</script>")])])
    outer = shown(Page(html=inner))
    [frame] = outer.all("iframe")
    assert frame["sandbox"] == "allow-scripts"
    assert frame["srcdoc"] == inner
    assert Read(inner).policy.count("sha256-") == outer.policy.count("sha256-") == 1


def test_links_lead_to_the_web_only() -> None:
    rows = [["https://h/a"], ["javascript:alert(1)"], ["file:///etc/passwd"], ["HTTP"]]
    page = shown(Table(heads=["what"], rows=rows, links=True))
    away = [link["href"] for link in page.all("a") if not str(link["href"]).startswith("#")]
    assert away == ["https://h/a"]


def test_what_is_too_much_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "LARGEST", 1000)
    page = document.render(document.Heading("t"), [Panel("a", [Plain(text="x" * 2000), Plain(text="short")])])
    assert "x" * 100 not in page
    assert "a page holds 1,000 at most" in page
    assert "short" in page


def test_a_page_is_whole_without_panels_and_with_every_part() -> None:
    assert "No decks." in document.render(document.Heading("t"), [])
    page = shown(Picture(uri="data:image/png;base64,AA==", alt='a "curve"'), render(Text("<b>")), Failure(reason="why"))
    [image] = page.all("img")
    assert image["alt"] == 'a "curve"'
    assert "<b>" in page.text
    assert "why" in page.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 µs"), (0.0005, "500 µs"), (0.25, "250 ms"), (90, "90 s"), (600, "10 min"), (86_400, "24 h")],
)
def test_lengths_of_time_in_words(seconds: float, words: str) -> None:
    assert document.span(seconds) == words
