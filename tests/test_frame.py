"""The frame: what is shipped, what is locked, and that the rules of the house are kept and can be broken."""

from __future__ import annotations

import ast
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
import zipfile
from email.parser import HeaderParser
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import otel_events
from otel_events.cli.bundle import contents
from scripts import check_house

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements" / "dev.lock").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel as a user would get it, built from a copy of what it is made of."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    for part in ("otel_events", "collector", "grafana"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=folder, check=True)
    [built] = (folder / "dist").glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_package_typed_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {
        path.relative_to(ROOT).as_posix()
        for path in check_house.project_files(ROOT / "otel_events")
        if not path.name.startswith(".")
    }
    bundled = {f"otel_events/bundle/{name}" for name, _ in contents()}
    assert "otel_events/py.typed" in names
    assert len(bundled) > 30
    assert names == ours | bundled


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    texts = {name.rpartition("/")[2]: wheel.read(name).decode() for name in wheel.namelist() if ".dist-info/" in name}
    told = HeaderParser().parsestr(texts["METADATA"])
    assert (told["Name"], told["Version"]) == ("otel-events", PROJECT["project"]["version"])
    assert (told["Requires-Python"], told["License-Expression"]) == (">=3.11", "Apache-2.0")
    assert "otel-events = otel_events.cli:main" in texts["entry_points.txt"]
    assert "Apache License" in texts["LICENSE"]


def loaded_by(statement: str) -> set[str]:
    """Installed packages that a fresh interpreter has loaded after ``statement``."""
    script = f"import sys\n{statement}\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    ran = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(ran.stdout.split()) & set(packages_distributions())


def test_importing_the_package_imports_no_other_package() -> None:
    assert loaded_by("import otel_events") - loaded_by("") <= {"otel_events"}
    assert "msgspec" in loaded_by("from otel_events import Run")


def test_public_names_come_from_their_modules() -> None:
    assert set(otel_events.__all__) <= set(dir(otel_events))
    for name in otel_events.__all__:
        assert getattr(otel_events, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = otel_events.nothing
    assert otel_events.Run.__module__ == "otel_events.model.event"


def _imports_root(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name == "otel_events" for alias in node.names)
    return isinstance(node, ast.ImportFrom) and node.module == "otel_events"


def test_nothing_inside_the_package_imports_its_root() -> None:
    """The root names what is at the top, so that an import of it from below would be a circle."""
    files = [path for path in (ROOT / "otel_events").rglob("*.py") if path != ROOT / "otel_events" / "__init__.py"]
    found = [path.name for path in files for node in ast.walk(ast.parse(path.read_text())) if _imports_root(node)]
    assert found == []


def requirements() -> list[Requirement]:
    """All that the project asks for: to run, for each source, and to be worked on."""
    project = PROJECT["project"]
    texts = [*project["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    texts += [text for extra in project["optional-dependencies"].values() for text in extra]
    return [Requirement(text) for text in texts]


def locked() -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^ ;\\]+)", LOCK, re.MULTILINE))


def test_the_lock_has_a_hash_for_every_package_and_no_address() -> None:
    entries = re.split(r"\n(?=[\w])", re.sub(r"^ *#.*\n", "", LOCK, flags=re.MULTILINE))
    assert len(entries) == len(locked()) > 40
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
    assert "://" not in LOCK
    assert "--index" not in LOCK


@pytest.mark.parametrize("wanted", requirements(), ids=str)
def test_the_lock_holds_what_the_project_asks_for(wanted: Requirement) -> None:
    version = locked().get(canonicalize_name(wanted.name))
    assert version is not None, f"{wanted} is not locked: run `make lock`"
    assert wanted.specifier.contains(version, prereleases=True), f"{version} is locked, not {wanted}: run `make lock`"


def imports(path: Path) -> set[str]:
    """Top-level names of the packages that a file imports, ours left out."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_every_import_is_declared() -> None:
    """What the package imports is asked for by name, not found there by luck of another package's needs."""
    declared = {canonicalize_name(wanted.name) for wanted in requirements()[: len(PROJECT["project"]["dependencies"])]}
    for extra in PROJECT["project"]["optional-dependencies"].values():
        declared |= {canonicalize_name(Requirement(text).name) for text in extra}
    homes = packages_distributions()
    for path in sorted((ROOT / "otel_events").rglob("*.py")):
        for top in {name.partition(".")[0] for name in imports(path)} - {"otel_events", *sys.stdlib_module_names}:
            owners = {canonicalize_name(owner) for owner in homes.get(top, [])}
            if path.is_relative_to(ROOT / "otel_events" / "instrument" / top):
                continue  # the package that is instrumented: its plug-in loads this file
            assert owners & declared, f"{path.relative_to(ROOT)} imports {top}, which pyproject.toml does not ask for"


def test_the_rules_of_the_house_are_kept() -> None:
    assert check_house.check(ROOT) == []


HOME = "/ho" + "me/someone/data.json"
BREACHES = {
    "a path of one machine": ("docs/page.md", f"see {HOME}\n"),
    "a registry host": ("Makefile", "x: https://py" + "pi.org/simple\n"),
    "a registry address": ("README.md", "pip install --index" + "-url http://mirror.local/simple x\n"),
    "unfinished work": ("otel_events/a.py", "x = 1  # TO" + "DO\n"),
    "without code or reason": ("otel_events/a.py", "import os  # noqa\n"),
    "an exception without code": ("tests/a.py", "x: int = ''  # type: ignore\n"),
    "or reason": ("tests/a.py", "x: int = ''  # type: ignore[assignment]\n"),
    "found says nothing": ("otel_events/a.py", "def look():\n    found = 1\n    return found\n"),
    "does not parse": ("otel_events/a.py", "def broken(:\n"),
    "401 lines": ("otel_events/a.py", "x = 1\n" * 401),
    "long has 51 lines": ("otel_events/a.py", "def long():\n" + "    x = 1\n" * 50),
}


@pytest.mark.parametrize("why", BREACHES)
def test_a_breach_is_found_and_named(why: str, tmp_path: Path) -> None:
    name, text = BREACHES[why]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    [found] = check_house.check(tmp_path)
    assert found.startswith(f"{name}:")
    assert why in found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("otel_events/a.py", "import os  # noqa: F401 - part of the public face\n"),
        ("otel_events/a.py", "x: int = ''  # type: ignore[assignment]  # a user would write it\n"),
        ("otel_events/a.py", "def short():\n" + "    x = 1\n" * 49),
        ("tests/golden/flyte/a.json", f'{{"path": "{HOME}"}}\n'),
        (".venv/lib/a.py", "x = 1  # noqa\n"),
        ("docs/page.md", "the run `flytesnacks/home/f3b1` under tests/work/x\n"),
    ],
)
def test_what_has_its_reason_passes(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    assert check_house.check(tmp_path) == []


def test_a_test_cannot_reach_beyond_loopback() -> None:
    with socket.socket() as one, pytest.raises(AssertionError, match="loopback only"):
        one.connect(("192.0.2.1", 80))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, pytest.raises(AssertionError, match="loopback only"):
        one.sendto(b"x", ("192.0.2.1", 53))
    with socket.socket() as server, socket.socket() as one:
        server.bind(("127.0.0.1", 0))
        server.listen()
        one.connect(server.getsockname())


OLD_PYTHON = """#!/bin/sh
case "$*" in
  --version) echo "Python 3.9.2" ;;
  *sys.exit*) exit 1 ;;
  *) echo 3.9.2 ;;
esac
"""
NEEDED = "make: Python 3.11 or newer is needed; "
NAME_ONE = ". Name one: make PYTHON=/path/to/python"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed here")
@pytest.mark.parametrize(
    ("has", "arguments", "says"),
    [
        (("python3",), (), "found: python3 is 3.9.2"),
        (("python3", "python"), (), "found: python3 is 3.9.2, python is 3.9.2"),
        ((), (), "found: none"),
        (("python3",), ("PYTHON=python3",), "python3 is: Python 3.9.2"),
        ((), ("PYTHON=nowhere",), r"nowhere is: .*not found"),
    ],
)
def test_make_says_what_it_found_where_that_is_too_old(
    has: tuple[str, ...], arguments: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    """On a PATH with the tools that make needs, and those Pythons."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("make", "sh", "sed", "paste", "head", "rm", "touch"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    for name in has:
        (tools / name).write_text(OLD_PYTHON)
        (tools / name).chmod(0o755)
    command = [str(tools / "make"), "--no-print-directory", f"VENV={tmp_path}/venv", *arguments, "test"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PATH": str(tools)})
    assert ran.returncode == 2
    assert re.search(re.escape(NEEDED) + says + re.escape(NAME_ONE), ran.stdout)
    assert not (tmp_path / "venv").exists()


def test_ci_runs_what_developers_run_on_every_python_that_is_promised() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    for one in (script, ROOT / "scripts" / "pythons.sh"):
        subprocess.run(["bash", "-n", str(one)], check=True)  # noqa: S607 - found on PATH
    text = script.read_text(encoding="utf-8")
    assert text.index("make check") < text.index("make test") < text.index("pytest tests/live")
    tried = {line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if "Python :: 3." in line}
    wanted = re.search(r"^for wanted in (.*); do$", (ROOT / "scripts" / "pythons.sh").read_text(), re.MULTILINE)
    assert wanted is not None
    assert tried == set(wanted[1].split())


def test_the_pythons_that_are_found_are_what_they_are_named() -> None:
    command = ["sh", str(ROOT / "scripts" / "pythons.sh")]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.split(" ", 1) for line in found.splitlines()]
    own = f"3.{sys.version_info.minor}"
    assert own in {version for version, _ in rows} or own not in {"3.11", "3.12", "3.13"}
    for version, path in rows:
        asked = "import sys; print('%d.%d' % sys.version_info[:2])"
        assert subprocess.run([path, "-c", asked], capture_output=True, text=True).stdout == f"{version}\n"
