"""Replay: a whole input into a journal, and telemetry out of it, root by root."""
