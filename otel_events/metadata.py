"""Metadata of runs: the public names; they are made in views/metadata.py."""

from otel_events.views.metadata import get_metadata, list_all

__all__ = ["get_metadata", "list_all"]
