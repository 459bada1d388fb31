"""Imports of the package that no linter counts: those inside functions. No circle; a reason beside each that remains.

Prints each breach as ``file:line: what; what to do`` and exits 1 if there is one. Run by ``make check``.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

PACKAGE = "otel_events"
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_IMPORTS = (ast.Import, ast.ImportFrom)


def modules(root: Path) -> dict[str, Path]:
    """Name -> file of every module of the package under ``root``."""
    named = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        named[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return named


def imports_of(tree: ast.AST, known: Mapping[str, Path]) -> set[str]:
    """The modules of the package that a file imports, at its top, in functions, or for types alone."""
    targets: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            targets |= {name if name in known else node.module for name in full}
    return targets & known.keys()


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """A circle of imports, the first module once more at its end; empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


def inside_functions(tree: ast.AST) -> Iterator[ast.stmt]:
    """Every import that runs when a function is called, each once."""
    nested = {
        inner
        for outer in ast.walk(tree)
        if isinstance(outer, _FUNCTIONS)
        for inner in ast.walk(outer)
        if isinstance(inner, _IMPORTS)
    }
    yield from sorted(nested, key=lambda node: node.lineno)


def without_reason(name: str, text: str) -> Iterator[str]:
    """A breach for each import in a function that has no comment on its line or above the imports it stands among."""
    lines = text.splitlines()
    for node in inside_functions(ast.parse(text)):
        above = node.lineno - 2
        while lines[above].strip().startswith(("import ", "from ")) and "#" not in lines[above]:
            above -= 1
        if "#" not in lines[node.lineno - 1] + lines[(node.end_lineno or node.lineno) - 1] + lines[above]:
            yield f"{name}:{node.lineno}: an import in a function: move it to the top, or say why it stands here"


def check(root: Path) -> list[str]:
    """All breaches of the package under ``root``."""
    named = modules(root)
    texts = {name: path.read_text(encoding="utf-8") for name, path in named.items()}
    breaches = [
        breach
        for name, path in named.items()
        for breach in without_reason(path.relative_to(root).as_posix(), texts[name])
    ]
    graph = {name: imports_of(ast.parse(text), named) - {name} for name, text in texts.items()}
    if names := circle(graph):
        breaches.append(f"imports go in a circle: {' -> '.join(names)}; move what both need below")
    return breaches


def main() -> int:
    breaches = check(Path(__file__).resolve().parents[1])
    print("\n".join(breaches) if breaches else "imports: no circle, and a reason beside each inside a function")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
