"""Draws docs/house.svg and docs/record.svg from the code: the rooms with what they import, and the way of one record.

python scripts/draw_house.py            writes them
python scripts/draw_house.py --check    exits 1 and names each picture that differs from what would be drawn
"""

from __future__ import annotations

import ast
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from types import FrameType

import msgspec

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # run as a file
    sys.path.insert(0, str(ROOT))

from scripts import check_imports  # noqa: E402 - after the path is set

PACKAGE = ROOT / check_imports.PACKAGE
WIDTH, ROW, BOX, GAP = 900, 64, 200, 20
STYLE = (
    "text{font:13px sans-serif;fill:#222}.small{font-size:11px;fill:#555}"
    "rect{fill:#eef3f8;stroke:#4a6785}path{fill:none;stroke:#4a6785}"
)


class Room(msgspec.Struct):
    """A folder of the package: how many files it has, and the rooms that it imports."""

    name: str
    files: int = 0
    imports: set[str] = set()


def room_of(module: str) -> str:
    """The room of a module; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def rooms() -> dict[str, Room]:
    """Every room by name, read from the files."""
    named = check_imports.modules(ROOT)
    drawn: dict[str, Room] = {}
    for module, path in named.items():
        if not (name := room_of(module)):
            continue
        text = path.read_text(encoding="utf-8")
        room = drawn.setdefault(name, Room(name))
        room.files += 1
        room.imports |= {room_of(target) for target in check_imports.imports_of(ast.parse(text), named)} - {name, ""}
    return drawn


def floors() -> list[list[str]]:
    """The layers of the import law, the highest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers: list[str] = project["tool"]["importlinter"]["contracts"][0]["layers"]
    return [[name.strip() for name in layer.split("|")] for layer in layers]


def house() -> str:
    """The rooms on their floors; under each name the floors below that it imports from."""
    drawn, parts = rooms(), []
    each = floors()
    for level, names in enumerate(each):
        y = GAP + level * ROW
        for place, name in enumerate(names):
            room = drawn[name]
            x = GAP + place * (BOX + GAP)
            size = f"{room.files} file{'s' if room.files > 1 else ''}"
            parts.append(f'<rect x="{x}" y="{y}" width="{BOX}" height="{ROW - 16}" rx="4"/>')
            parts.append(f'<text x="{x + 8}" y="{y + 19}">{escape(name)}</text>')
            parts.append(f'<text class="small" x="{x + 8}" y="{y + 36}">{escape(size)}</text>')
        below = [name for names in each[level + 1 :] for name in names]
        used = set().union(*(drawn[name].imports for name in names))
        text = "imports " + (", ".join(name for name in below if name in used) or "nothing of ours")
        x = GAP + len(names) * (BOX + GAP)
        parts.append(f'<text class="small" x="{x}" y="{y + 28}">{escape(text)}</text>')
    return _svg(parts, GAP + len(each) * ROW)


RECORD = (
    b'{"event":"phase","id":"1","time":1790000000000000000,"phase":"succeeded","native":"done",'
    b'"run":{"source":"batch","kind":"task","id":"a","root":"a","name":"train"}}'
)


class Way(msgspec.Struct):
    """What one record passes: (room, function) where a room is entered for the first time, and how often each file is
    left for another."""

    steps: list[tuple[str, str]] = []
    files: set[str] = set()
    moves: int = 0


def walk(folder: Path) -> Way:
    """The way of one record through a replay, as the interpreter goes it."""
    from otel_events.core.metrics import Metrics  # the walked code, loaded before anything is counted
    from otel_events.intake.records import Record
    from otel_events.journal import Journal
    from otel_events.otlp import from_env
    from otel_events.replay.replay import replay
    from otel_events.replay.sinks import FileSink

    way = Way()

    def called(frame: FrameType, what: str, argument: object) -> None:
        if what != "call" or not (name := _file(frame)):
            return
        way.files.add(name)
        way.moves += frame.f_back is not None and _file(frame.f_back) not in ("", name)
        room = name.partition("/")[0]
        if room not in {step for step, _ in way.steps}:
            way.steps.append((room, f"{name}: {frame.f_code.co_name}"))

    with Journal.temporary() as journal:
        sink, metrics = FileSink(folder, from_env({})), Metrics()
        sys.setprofile(called)
        try:
            replay("events", [Record(RECORD)], journal=journal, sink=sink, metrics=metrics)
        finally:
            sys.setprofile(None)
        sink.close()
    return way


def _file(frame: FrameType) -> str:
    path = frame.f_code.co_filename
    return path.removeprefix(f"{PACKAGE}/") if path.startswith(str(PACKAGE)) else ""


def record() -> str:
    """The rooms in the order in which one record enters them, and by which function."""
    with tempfile.TemporaryDirectory() as folder:
        walk(Path(folder))  # once before: what is loaded and remembered at the first time is not the record's way
        steps = walk(Path(folder)).steps
    parts = []
    for number, (room, function) in enumerate(steps):
        y = GAP + number * ROW
        parts.append(f'<rect x="{GAP}" y="{y}" width="{BOX}" height="{ROW - 24}" rx="4"/>')
        parts.append(f'<text x="{GAP + 8}" y="{y + 25}">{number + 1}. {escape(room)}</text>')
        parts.append(f'<text class="small" x="{GAP + BOX + 12}" y="{y + 25}">{escape(function)}</text>')
        if number:
            parts.append(f'<path d="M{GAP + BOX // 2} {y - 24} V{y}"/>')
    return _svg(parts, GAP + len(steps) * ROW)


def _svg(parts: Iterable[str], height: int) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">'
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>"]) + "\n"


PICTURES = {"house.svg": house, "record.svg": record}


def main(arguments: Sequence[str]) -> int:
    if arguments not in ([], ["--check"], ["--walk"]):
        print(__doc__, file=sys.stderr)
        return 2
    if arguments == ["--walk"]:
        with tempfile.TemporaryDirectory() as folder:
            way = walk(Path(folder))
        print(f"a replay of one record: {len(way.files)} files entered, {way.moves} calls between files")
        return 0
    stale = []
    for name, draw in PICTURES.items():
        path, text = ROOT / "docs" / name, draw()
        if not arguments:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"docs/ differs from the code in {', '.join(stale)}: run `make docs` and commit what it draws")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
