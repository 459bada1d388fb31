"""Decks of ``@task``: what its page shows, where it is, what its span says; the result is the same whatever happens."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import otel_events
from otel_events import Deck, DeckField, current_context, current_run, task
from otel_events.deck import Markdown, Text, model, place
from otel_events.inprocess import process
from otel_events.inprocess.faults import faults
from otel_events.testing import CaptureServer
from tests.deck.conftest import Read

ALL = tuple(DeckField)
SECRET = "hunter2-hunter2"  # noqa: S105 - what is looked for


def pages(decks: Path) -> list[Path]:
    return sorted(decks.glob("*/*.html"))


def only(decks: Path) -> str:
    [page] = pages(decks)
    return page.read_text(encoding="utf-8")


class Pair(NamedTuple):
    loss: float
    note: str


@task(name="add", enable_deck=True, deck_fields=ALL)
def add(rows: int, password: str, *more: int, note: str = "quiet") -> Pair:
    """Told by its source."""
    return Pair(rows / 2, f"password={password}")


def test_the_panels_that_are_asked_for(decks: Path) -> None:
    assert add(3, SECRET, 4, 5) == (1.5, f"password={SECRET}")
    page = Read(only(decks))
    assert len(page.tabs) == len(ALL)
    for shown in (
        "rows",
        "note",
        "quiet",
        "more",
        "(4, 5)",
        "loss",
        "1.5",
        "Told by its source.",
        "pytest",
        "succeeded",
    ):
        assert shown in page.text
    assert SECRET not in page.text
    assert "[redacted]" in page.text


def test_inputs_and_outputs_are_off_unless_asked_for(decks: Path) -> None:
    given = " ".join(["an", "input"])  # not in the source code as it is
    task(enable_deck=True)(lambda text: text)(given)
    page = Read(only(decks))
    assert [name for name in ("Input", "Output", "Timeline", "Source Code", "Dependencies") if name in page.texts] == [
        "Timeline",
        "Source Code",
        "Dependencies",
    ]
    assert given not in page.text


def test_decks_of_the_users(decks: Path) -> None:
    @task(enable_deck=True, deck_fields=())
    def work() -> None:
        Deck("one", "<b>x</b>").append(Text("<i>")).append(Markdown("# m"))
        Deck("apart", "kept", auto_add_to_deck=False)
        assert [deck.name for deck in current_context().decks] == ["one"]
        assert "&lt;i&gt;" in current_context().decks[0].html
        assert "<h1>m</h1>" in current_context().get_deck()

    work()
    page = Read(only(decks))
    assert len(page.tabs) == 1
    assert "<i>" in page.text
    assert "m" in page.texts
    assert len(page.all("iframe")) == 1


def test_a_deck_without_the_option_shows_too_and_none_without_decks(decks: Path) -> None:
    task(lambda: Deck("mine", "x"))()
    assert "mine" in only(decks)
    task(lambda: None)()
    assert len(pages(decks)) == 1


def test_the_timeline_has_calls_and_timers(decks: Path) -> None:
    @task(name="inner")
    def inner(fail: bool) -> None:
        if fail:
            raise ValueError("nothing to read")

    @task(enable_deck=True, deck_fields=("Timeline",))
    def outer() -> None:
        with current_context().stats.timer("reading"):
            inner(fail=False)
        with pytest.raises(ValueError, match="nothing to read"):
            inner(fail=True)

    outer()
    page = Read(only(decks))
    rows = [found for name, found in page.elements if name == "th" and found.get("scope") == "row"]
    assert len(rows) == 4
    assert page.text.index("reading") < page.text.index("inner") < page.text.rindex("inner")
    assert [word for word in page.texts if word in ("section", "failed")] == ["section", "failed"]


def test_span_and_report_say_where_the_page_is(decks: Path, collector: CaptureServer) -> None:
    add(1, SECRET)
    process.shutdown()
    [span] = collector.spans()
    [page] = pages(decks)
    assert span.attributes["otel_events.deck.uri"] == page.as_uri()
    [told] = [one for one in span.events if one.name == "otel_events.report"]
    assert told.attributes["otel_events.report.uri"] == page.as_uri()
    assert told.attributes["otel_events.report.media_type"] == "text/html"


def test_pages_are_their_users_alone(decks: Path) -> None:
    add(1, "x")
    [page] = pages(decks)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (decks, page.parent, page)] == [0o700, 0o700, 0o600]


def test_each_attempt_has_its_page_and_errors_show(decks: Path) -> None:
    @task(retries=1, enable_deck=True, deck_fields=ALL)
    def work() -> int:
        if current_context().attempt == 1:
            raise ValueError(f"password={SECRET}")
        return 7

    assert work() == 7
    first, second = (Read(path.read_text()) for path in pages(decks))
    assert "failed" in first.texts
    assert "ValueError: password=[redacted]" in first.text
    assert "none: it ended by ValueError" in first.text
    assert "succeeded" in second.texts


def test_coroutines_and_threads(decks: Path) -> None:
    @task(name="step", enable_deck=True, deck_fields=())
    async def step(number: int) -> int:
        await asyncio.sleep(0)
        Deck(f"number {number}", Text(str(number)))
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*(step(number) for number in range(5)))

    assert asyncio.run(main()) == list(range(5))
    assert len(pages(decks)) == 5
    for path in pages(decks):
        assert len(Read(path.read_text()).tabs) == 1


class Hostile:
    """Says nothing of itself."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    _repr_html_ = __repr__


def test_nothing_that_fails_in_a_deck_reaches_the_task(decks: Path, caplog: pytest.LogCaptureFixture) -> None:
    thing = Hostile()

    @task(enable_deck=True, deck_fields=ALL)
    def work(one: Hostile) -> Hostile:
        Deck("broken", one)
        current_context().decks.append("no deck")
        return one

    assert work(thing) is thing
    page = Read(only(decks))
    assert "could not be rendered: RuntimeError" in page.text
    assert "no deck: append otel_events.Deck(name, content)" in page.text
    assert len(page.tabs) == 2 + len(ALL)
    assert faults()
    assert len(caplog.records) == len(faults())


def test_a_folder_that_cannot_be_written_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collector: CaptureServer
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OTEL_EVENTS_DECKS", str(tmp_path / "file" / "decks"))
    assert add(2, "x").loss == 1
    assert faults() == {"writing a deck": 1}
    process.shutdown()
    [span] = collector.spans()
    assert (span.attributes["otel_events.outcome"], "otel_events.deck.uri" in span.attributes) == ("succeeded", False)


def test_decks_are_kept_beside_the_journal_that_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collector: CaptureServer
) -> None:
    monkeypatch.delenv("OTEL_EVENTS_DECKS")
    add(1, "x")
    assert len(pages(tmp_path / "decks")) == 1


def test_decks_and_parts_are_bounded(decks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "DECKS", 2)
    monkeypatch.setattr(model, "PARTS", 2)

    @task(enable_deck=True, deck_fields=())
    def work() -> None:
        for number in range(4):
            deck = Deck(f"deck {number}")
            for part in range(5):
                deck.append(Text(f"part {part}"))

    work()
    page = Read(only(decks))
    assert len(page.tabs) == 2
    assert page.texts.count("part 1") == 2
    assert "part 2" not in page.texts
    assert page.texts.count("more than 2 parts: what came after is left out") == 2
    assert faults()["a deck"] == 2 + 4


def test_publish_writes_the_page_meanwhile(decks: Path) -> None:
    seen = []

    @task(enable_deck=True)
    def work() -> None:
        Deck("early", Text("first"))
        Deck.publish()
        seen.append(only(decks))
        Deck("late", Text("second"))

    work()
    assert "first" in seen[0]
    assert "second" not in seen[0]
    assert "second" in only(decks)


def test_outside_of_any_run(decks: Path) -> None:
    assert "No decks." in current_context().get_deck()
    assert Deck("loose", Text("x")).html.count("<pre") == 1
    Deck.publish()
    assert not pages(decks)
    assert current_run() is None
    add(1, "x")
    assert current_context().get_deck() == only(decks)  # of the run before, as the guide of flytekit has it


def test_methods_do_not_show_themselves_and_partials_show_their_source(decks: Path) -> None:
    class Model:
        @task(enable_deck=True, deck_fields=(DeckField.INPUT, DeckField.SOURCE_CODE))
        def fit(self, rate: float) -> None:
            pass

    Model().fit(0.5)
    page = Read(only(decks))
    assert "self" not in page.texts
    assert "rate" in page.texts
    assert "def fit(self" in page.text


@pytest.mark.parametrize("wrong", [("Inputs",), (3,), ("Input", None)])
def test_deck_fields_that_are_none_are_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="deck_fields has"):
        task(enable_deck=True, deck_fields=wrong)


def test_ids_become_names_of_files_that_stay_apart(tmp_path: Path) -> None:
    ids = ["a/b", "a%2Fb", "..", ".", "../x", "", "a" * 300, "a" * 299 + "b", "é", "~", "A", "nul\x00"]
    names = [place.safe(one) for one in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        assert (tmp_path / name).parent == tmp_path
        assert not name.startswith(".")
        assert (tmp_path / name).resolve().parent == tmp_path.resolve()
        (tmp_path / name).mkdir()


def test_the_folder_is_kept_within_its_bounds(tmp_path: Path) -> None:
    for at in range(6):
        path = tmp_path / f"root{at}" / "run.1.html"
        place.write(path, "x" * 100)
        os.utime(path, (1000 + at, 1000 + at))
    assert place.prune(tmp_path, now=1006, size=350, age=1000) == 3
    assert [path.parent.name for path in pages(tmp_path)] == ["root3", "root4", "root5"]
    assert place.prune(tmp_path, now=1009, size=350, age=4.5) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["root5"]


def test_public_names() -> None:
    assert otel_events.Deck is Deck
    assert [field.value for field in DeckField] == ["Input", "Output", "Timeline", "Source Code", "Dependencies"]
