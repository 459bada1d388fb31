"""What instrumentors share: hooks are put in place once, when their module is imported, and all are taken back."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from otel_events.inprocess.faults import faults
from otel_events.instrument.patching import Hook, SystemInstrumentor

SYSTEM = "a_system_of_the_tests"
SOURCE = """
class Engine:
    def run(self): return ["run"]

def start(): return ["start"]
"""


def seen(original: Any) -> Any:
    @wraps(original)
    def call(*args: Any) -> Any:
        return ["seen", *original(*args)]

    return call


HOOKS = (Hook(SYSTEM, "Engine", "run", seen), Hook(SYSTEM, "", "start", seen))


class Case(SystemInstrumentor):
    """Never made itself: OpenTelemetry makes one object of a class, and a derived class would find that one."""

    system = SYSTEM
    supported = ("pytest >= 1",)
    hooks = HOOKS

    def _begin(self) -> None:
        self._when_imported(SYSTEM, lambda module: self._patches.put(self.hooks))


class Instrumentor(Case):
    """Of the version that is there."""


class Other(Case):
    supported = ("pytest < 1",)


class Missing(Case):
    supported = ("nothing-of-that-name >= 1",)


class Broken(Case):
    hooks = (HOOKS[1], Hook(SYSTEM, "Engine", "gone", seen))


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / f"{SYSTEM}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(SYSTEM, None)


def called() -> list[str]:
    module: Any = import_module(SYSTEM)
    return [*module.Engine().run(), *module.start()]


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("early", [True, False])
def test_hooks_are_put_in_place_once_and_taken_back(early: bool) -> None:
    if early:
        import_module(SYSTEM)
    instrumentor = Instrumentor()
    for _ in range(2):  # the first call waits for an import that comes after the second one
        instrumentor.instrument()
        assert (SYSTEM in sys.modules) == early
        instrumentor.uninstrument()
    instrumentor.instrument()
    assert called() == ["seen", "run", "seen", "start"]
    instrumentor.uninstrument()
    assert called() == ["run", "start"]


@pytest.mark.usefixtures("system")
def test_another_version_is_left_alone_and_named(caplog: pytest.LogCaptureFixture) -> None:
    for kind in (Other, Missing):
        kind().instrument(skip_dep_check=True)
        assert called() == ["run", "start"]
        kind().uninstrument()
    ours = [record for record in caplog.records if record.name == "otel_events" and record.levelno == logging.WARNING]
    [record] = ours  # where there is no version at all, there is nothing to say
    assert f"{SYSTEM} is not instrumented" in record.getMessage()


@pytest.mark.usefixtures("system")
def test_a_function_that_is_gone_costs_the_host_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otel_events.inprocess.faults._faults", {})
    instrumentor = Broken()
    instrumentor.instrument()
    assert called() == ["run", "seen", "start"]
    assert faults() == {f"the instrumentation of {SYSTEM}": 1}
    instrumentor.uninstrument()
    assert called() == ["run", "start"]
