"""A folder of decks for each test, and a way to read a page as a browser's parser would."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

import otel_events
from otel_events.inprocess import process
from otel_events.testing import CaptureServer

Attributes = dict[str, str | None]


class Read(HTMLParser):
    """A page: its elements in order, the scripts' texts, and all text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, Attributes]] = []
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self._within = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within == "script":
            self.scripts[-1] += data
        elif self._within != "style":
            self.texts.append(data)

    def all(self, tag: str) -> list[Attributes]:
        return [found for name, found in self.elements if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def policy(self) -> str:
        return next(
            str(meta["content"]) for meta in self.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"
        )

    @property
    def tabs(self) -> list[str]:
        """The names of its panels."""
        return [name for tab in self.all("a") if (name := tab.get("href")) and name.startswith("#deck-")]


@pytest.fixture(autouse=True)
def decks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of decks; what failed before is forgotten."""
    monkeypatch.setenv("OTEL_EVENTS_DECKS", str(tmp_path / "decks"))
    monkeypatch.setattr("otel_events.inprocess.faults._faults", {})
    monkeypatch.setattr("otel_events.deck.finish._last", None)
    return tmp_path / "decks"


@pytest.fixture(scope="session")
def receiver() -> Iterator[CaptureServer]:
    with CaptureServer() as server:
        yield server


@pytest.fixture
def collector(receiver: CaptureServer, tmp_path: Path) -> Iterator[CaptureServer]:
    receiver.clear()
    otel_events.configure(tmp_path / "journal.db", environ=receiver.environ("http/protobuf"))
    yield receiver
    process.shutdown()
