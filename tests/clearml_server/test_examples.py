"""The examples in docstrings of ClearML's server and source run and give what they say."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from types import ModuleType

import pytest

from otel_events import clearml_server
from otel_events.sources import clearml


def modules(package: ModuleType) -> list[str]:
    return [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]


@pytest.mark.parametrize("name", [*modules(clearml_server), *modules(clearml)])
def test_examples(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0


def test_there_are_examples() -> None:
    names = [*modules(clearml_server), *modules(clearml)]
    assert sum(doctest.testmod(import_module(name)).attempted for name in names) >= 5
