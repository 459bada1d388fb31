"""The section of docs/sources.md about Flyte, printed from its table of phases."""

from __future__ import annotations

from otel_events.sources.flyte import base
from otel_events.sources.markdown import code, table


def section() -> str:
    """Flyte's words and the phases that they are."""
    levels = (base.WORKFLOW_PHASES, base.NODE_PHASES, base.TASK_PHASES)
    words = [dict(level.values()) for level in levels]
    rows = ((word, *(code(level.get(word, "")) for level in words)) for word in sorted(set().union(*words)))
    return f"""{table(("Flyte's word", "workflow", "node", "task"), rows)}
A failure of kind SYSTEM is `crashed`. Where each field of Flyte's messages goes: [flyte-fields.md](flyte-fields.md).
"""
