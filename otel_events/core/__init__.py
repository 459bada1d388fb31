"""Events to telemetry: the fold, spans, logs, metrics, redaction. Pure functions and state: no I/O and no clock."""
