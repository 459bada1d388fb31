"""The path of the journal where the caller names none."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

JOURNAL_VARIABLE = "OTEL_EVENTS_JOURNAL"


def journal_path(given: str, environ: Mapping[str, str] = os.environ) -> Path:
    """``given``, else OTEL_EVENTS_JOURNAL, else the state folder of the XDG base directory specification."""
    if named := given or environ.get(JOURNAL_VARIABLE, ""):
        return Path(named).expanduser()
    state = environ.get("XDG_STATE_HOME", "")
    folder = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return folder / "otel-events" / "journal.db"
