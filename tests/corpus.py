"""Where the captured records are, for the tests that walk all of them; the small golden inputs are in tests/golden."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "corpus"
CORPUS = Path(os.environ.get("OTEL_EVENTS_CORPUS", _BESIDE))

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason=f"the captured records are not at {CORPUS}; set OTEL_EVENTS_CORPUS to their folder"
)
