"""The examples in docstrings run."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

MODULES = ("bounded", "declared", "identity", "nesting", "times")


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str) -> None:
    result = doctest.testmod(import_module(f"otel_events.model.{module}"))
    assert result.attempted
    assert not result.failed
