"""Zero-code instrumentation: our own OpenTelemetry distro, and an instrumentor for each system."""
