"""The version of this distribution, for scopes, user agents and reports."""

from __future__ import annotations

from functools import cache


@cache
def version() -> str:
    """The version of the installed distribution.

    Returns:
        For example ``"0.9.0"``; ``"0.0.0+unknown"`` for a source tree that is on the path and not installed.
    """
    from importlib import metadata  # 20 ms that a program which only imports the model need not pay

    try:
        return metadata.version("otel-events")
    except metadata.PackageNotFoundError:
        return "0.0.0+unknown"
