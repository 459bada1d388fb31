"""The house: the import law is read over every file, no circle, and no source's name where the core must know none."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from pathlib import Path

import grimp
import pytest

from otel_events.model.declared import GROUP, _without_metadata, loaders
from otel_events.sources import load_source, source_names
from scripts import check_imports, draw_house

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("model", "core", "journal", "intake", "otlp", "gateway", "replay")
"""Rooms that work for any source."""
NAMES = re.compile(r"(?<![a-z])(flyte\w*|prefect|ray|clearml|openlineage|airflow|dbt|spark)(?![a-z])", re.IGNORECASE)


def test_the_import_law_reads_every_file() -> None:
    graph = grimp.build_graph("otel_events", cache_dir=None)
    files = check_imports.modules(ROOT)
    assert graph.modules == files.keys()
    assert len(files) > 250


def test_no_circle_and_a_reason_beside_each_import_inside_a_function() -> None:
    assert check_imports.check(ROOT) == []


def test_a_circle_through_a_function_and_a_missing_reason_are_breaches(tmp_path: Path) -> None:
    folder = tmp_path / "otel_events"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "a.py").write_text("from otel_events import b\n")
    (folder / "b.py").write_text("def late():\n    from otel_events.a import x\n    return x\n")
    first, second = check_imports.check(tmp_path)
    assert first.startswith("otel_events/b.py:2: an import in a function")
    assert second.startswith("imports go in a circle: otel_events.")
    (folder / "b.py").write_text("def late():\n    import json  # 4 ms that most calls need not pay\n    return json\n")
    assert check_imports.check(tmp_path) == []


@pytest.mark.parametrize("room", ROOMS)
def test_no_source_is_named_where_all_are_served(room: str) -> None:
    for path in sorted((ROOT / "otel_events" / room).rglob("*.py")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert not NAMES.search(line), f"{path.relative_to(ROOT)}:{number}: {line.strip()}"


def test_our_sources_are_found_as_anybodys_are_and_also_where_nothing_is_installed() -> None:
    """A worker may be given the package as a zip: there are no entry points then, and the traits must not be lost."""
    installed = {point.name for point in entry_points(group=GROUP)}
    assert installed == set(source_names()) == set(loaders()) == set(_without_metadata())
    for name in source_names():
        assert load_source(name).name == name
        assert _without_metadata()[name]() is load_source(name)


def test_the_picture_of_the_house_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "house.svg").read_text(encoding="utf-8") == draw_house.house()


def test_a_record_is_walked_through_the_rooms_in_the_order_of_the_main_path(tmp_path: Path) -> None:
    rooms = [room for room, _ in draw_house.walk(tmp_path).steps]
    order = [rooms.index(room) for room in ("replay", "intake", "journal", "otlp")]
    assert order == sorted(order)
