"""The rules of the house that no linter has: sizes, words that must not be committed, reasons beside every exception.

Prints each breach as ``file:line: what; what to do`` and exits 1 if there is one. Run by ``make check``.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50

VAGUE = frozenset({"found", "kept", "known", "made", "one", "told"})
"""No names of the package: they say that something was held, not what."""

_SKIPPED_FOLDERS = {"__pycache__", "dist", "build", "node_modules"}
_CAPTURED = ("tests/golden/", "otel_events/demo_data/", "requirements/")
"""Folders whose texts are others' words, kept as they were: records of real servers, package names."""

FORBIDDEN: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("a path of one machine: make it relative", re.compile(r"(?<![\w.~/:-])/(?:root|work|home/\w+|Users/\w+)/")),
    (
        "a registry host: the environment names the index",
        re.compile(r"\b(?:pypi|npmjs|[\w.-]*pythonhosted)\.\w{2,3}\b"),
    ),
    ("a registry address: the environment names the index", re.compile(r"(?:index-url|find-links)[ =]+\S*[:/]")),
    ("unfinished work: finish it, or open an issue", re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b")),
)
_EXCEPTION = re.compile(r"#\s*(?:type:\s*ignore\[[^\]]*\]|noqa:\s*[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)(?P<rest>.*)")
_BARE_EXCEPTION = re.compile(r"#\s*(?:type:\s*ignore(?!\[)|noqa(?!:\s*[A-Z]))")
_REASON = re.compile(r"[:#-]\s*\w.*\w{2,}")


def project_files(root: Path) -> Iterator[Path]:
    """Files of the project, sorted; hidden folders (but .ci), caches and virtual environments are left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if _is_ours(Path(folder, name)))
        yield from (Path(folder, name) for name in sorted(names) if not name.endswith((".pyc", ".so")))


def _is_ours(folder: Path) -> bool:
    if folder.name == ".ci":
        return True
    hidden = folder.name.startswith(".") or folder.name.endswith(".egg-info")
    return not (hidden or folder.name in _SKIPPED_FOLDERS or (folder / "pyvenv.cfg").exists())


def breaches(name: str, text: str) -> Iterator[str]:
    """Every breach in one file; ``name`` is its path from the root, with forward slashes."""
    if name.startswith(_CAPTURED):
        return
    yield from forbidden_words(name, text)
    if not name.endswith(".py"):
        return
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield f"{name}:{error.lineno}: does not parse with this Python: {error.msg}"
        return
    yield from missing_reasons(name, text)
    if not name.startswith("tests/"):
        yield from sizes(name, text, tree)
    if name.startswith("otel_events/"):
        yield from vague_names(name, tree)


def forbidden_words(name: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        yield from (f"{name}:{number}: {why}" for why, pattern in FORBIDDEN if pattern.search(line))


def missing_reasons(name: str, text: str) -> Iterator[str]:
    """An ignored type error or lint must name its code and say why: ``# noqa: S603 - our own interpreter``."""
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        found = _EXCEPTION.search(token.string)
        if _BARE_EXCEPTION.search(token.string) or (found and not _REASON.search(found["rest"])):
            yield f"{name}:{token.start[0]}: an exception without code or reason: write `# noqa: CODE - why`"


def sizes(name: str, text: str, tree: ast.Module) -> Iterator[str]:
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{name}:{lines}: {lines} lines, {MAX_FILE_LINES} at most: split it"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines, {MAX_FUNCTION_LINES} at most: split it"


def vague_names(name: str, tree: ast.AST) -> Iterator[str]:
    """A name says what a thing holds, not that it was held."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=text, ctx=ast.Store()) | ast.arg(arg=text) | ast.Attribute(attr=text, ctx=ast.Store()):
                pass
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                pass
            case _:
                continue
        if text.strip("_").lower() in VAGUE:
            yield f"{name}:{node.lineno}: {text} says nothing: name what it holds"


def check(root: Path) -> list[str]:
    """All breaches under ``root``, in order of files; binary files hold no words and are passed over."""
    found: list[str] = []
    for path in project_files(root):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += breaches(path.relative_to(root).as_posix(), text)
    return found


def main() -> int:
    found = check(Path(__file__).resolve().parents[1])
    print("\n".join(found) if found else "house rules: all kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
