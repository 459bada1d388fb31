"""Documentation says what the code does: printed pages are fresh, links lead somewhere, named commands exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otel_events.sources.markdown import table
from scripts import print_docs

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def test_printed_pages_are_what_the_code_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_docs.main(["--check"]) == 0, capsys.readouterr().out


def test_a_stale_page_is_named_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(print_docs, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    assert print_docs.main([]) == 0
    (tmp_path / "docs" / "phases.md").write_text("edited by hand", encoding="utf-8")
    assert print_docs.main(["--check"]) == 1
    told = capsys.readouterr().out
    assert "phases.md: run `make docs`" in told
    assert "sources.md" not in told


def test_a_wrong_argument_prints_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_docs.main(["--chek"]) == 2
    assert "--check" in capsys.readouterr().err


def test_cells_cannot_break_a_table() -> None:
    assert table(("a", "b"), [("x|y\nz", "")]) == "| a | b |\n| --- | --- |\n| x\\|y z | - |\n"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_files(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text)
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert missing == []


def test_make_targets_named_in_the_docs_exist() -> None:
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        said = set(re.findall(r"`make ([a-z]+)", page.read_text(encoding="utf-8")))
        assert said <= known, page.name


def test_every_variable_of_ours_is_documented() -> None:
    """And only those: what the configuration page names is read somewhere."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "otel_events").rglob("*.py"))
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    variable = re.compile(r"\bOTEL_EVENTS_[A-Z_]*[A-Z]\b")
    assert set(variable.findall(page)) == set(variable.findall(code)) != set()
