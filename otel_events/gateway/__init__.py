"""The gateway: commits of the journal in, telemetry out at least once."""
