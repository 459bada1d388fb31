"""Decks in real headless Chromium: tabs work, what is hostile runs no script and asks nobody, figures show."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.live.envs import ROOT, python

pytestmark = pytest.mark.timeout(600)  # a slow machine takes 10 s for each figure of plotly
PROGRAMS = ROOT / "tests" / "live" / "deck_programs"


class Canary(ThreadingHTTPServer):
    """Notes each request that anybody makes."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Note)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Note(BaseHTTPRequestHandler):
    server: Canary

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(204)
        self.end_headers()

    do_POST = do_GET  # noqa: N815 - as above

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
        pass


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    server = Canary()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def program(name: str, *arguments: object, **environ: object) -> str:
    command = [str(python("decks")), str(PROGRAMS / name), *map(str, arguments)]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON"))}
    told = {key: str(value) for key, value in environ.items()}
    ran = subprocess.run(command, env=clean | told, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout


Seen = dict[str, Any]


@pytest.fixture(scope="module")
def pages(canary: Canary, tmp_path_factory: pytest.TempPathFactory) -> tuple[Seen, Seen, Seen, list[str]]:
    """What the browser shows of the hostile page, of the good one and of one that is open to all; and what was asked of
    the canary meanwhile."""
    folder = tmp_path_factory.mktemp("decks")
    made = program("make.py", canary.url, HOME=folder, OTEL_EVENTS_DECKS=folder / "decks", MPLCONFIGDIR=folder)
    hostile, good = made.splitlines()
    whole = folder / "whole.html"
    deck = [str(python("decks").with_name("otel-events")), "deck", Path(hostile).parent.name, "-o", str(whole)]
    clean = os.environ | {"HOME": str(folder), "OTEL_EVENTS_DECKS": str(folder / "decks")}
    subprocess.run(deck, env=clean, check=True, capture_output=True, timeout=60)
    seen = json.loads(program("browse.py", folder / "profile", hostile, good, whole, HOME=folder))
    return seen[0], seen[1], seen[2], list(canary.asked)


def named(page: Seen, name: str) -> Seen:
    return next(panel for panel in page["panels"] if panel["name"] == name)


def test_the_canary_would_sing(canary: Canary, tmp_path: Path) -> None:
    """The same browser asks the same server when nothing hinders it: silence in the other tests is the page's work."""
    before = list(canary.asked)
    (tmp_path / "open.html").write_text(
        "<title>open</title><a role=tab href='#x'>t</a><p role=tabpanel>p</p><script>document.title='owned'</script>"
        f"<img src='{canary.url}/open'>"
    )
    [seen] = json.loads(program("browse.py", tmp_path / "profile", tmp_path / "open.html", HOME=tmp_path))
    assert seen["title"] == ["owned", "owned"]
    assert "/open" in canary.asked
    canary.asked[:] = before


def test_tabs_follow_clicks(pages: tuple[Seen, Seen, Seen, list[str]]) -> None:
    good = pages[1]
    assert (good["first"]["chosen"], good["first"]["shown"]) == ([0], [0])
    for number, panel in enumerate(good["panels"]):
        assert (panel["state"]["chosen"], panel["state"]["shown"]) == ([number], [number])
    assert [panel["name"] for panel in good["panels"]][-3:] == ["Timeline", "Source Code", "Dependencies"]


def test_tabs_follow_the_keyboard(pages: tuple[Seen, Seen, Seen, list[str]]) -> None:
    good = pages[1]
    last = len(good["panels"]) - 1
    went = [1, last, 0, last, 0]  # right, End, right, left, Home
    assert [key["chosen"] for key in good["keys"]] == [[at] for at in went]
    assert [key["shown"] for key in good["keys"]] == [[at] for at in went]
    assert [key["focused"] for key in good["keys"]] == [f"tab-{at + 1}" for at in went]


def test_what_is_hostile_runs_nothing_and_asks_nobody(pages: tuple[Seen, Seen, Seen, list[str]]) -> None:
    hostile, _, whole, asked = pages
    assert asked == []
    for page in (hostile, whole):
        title, after = page["title"]
        assert title == after != "owned"
        assert page["windows"] == 1
        assert page["url"].startswith("file:")
    assert "<script>document.title='owned'" in hostile["title"][0]


def test_what_is_hostile_is_shown_as_text(pages: tuple[Seen, Seen, Seen, list[str]]) -> None:
    hostile = pages[0]
    names = [panel["name"] for panel in hostile["panels"]]
    assert names[1:6] == ["offers", "text", "markdown", "pandas", "plotly"]
    assert names[6:] == ["Input", "Output", "Timeline", "Source Code", "Dependencies"]
    for name in ("text", "pandas", "Input", "Output", "Timeline"):
        assert "<script>document.title='owned'" in named(hostile, name)["text"]
    assert [frame["sandbox"] for frame in named(hostile, "offers")["frames"]] == [""]
    assert "text" in named(hostile, "offers")["frames"][0]["text"]


def test_the_page_of_a_run_shows_the_decks_of_its_attempts(pages: tuple[Seen, Seen, Seen, list[str]]) -> None:
    [panel] = pages[2]["panels"]
    [frame] = panel["frames"]
    assert frame["sandbox"] == "allow-scripts"
    assert "offers" in frame["text"]


def test_tables_and_figures_show(pages: tuple[Seen, Seen, Seen, list[str]]) -> None:
    good = pages[1]
    assert named(good, "html")["frames"][0]["text"] == "bold"
    assert named(good, "markdown")["cells"] == ["1", "2"]
    assert named(good, "pandas")["cells"] == ["0", "0.5", "1", "1", "0.25", "2"]
    assert named(good, "polars")["cells"] == ["Ulm", "3", "Jena", "4"]
    assert named(good, "series")["cells"] == ["0", "1", "1", "2", "3"]
    widths = named(good, "matplotlib")["widths"]
    assert len(widths) == 2
    assert min(widths) > 300
    for name in ("plotly", "many"):
        [figure] = named(good, name)["frames"]
        assert (figure["sandbox"], figure["lines"]) == ("allow-scripts", 1)
