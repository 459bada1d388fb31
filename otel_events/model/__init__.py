"""What everything else may know: the event, the ids of runs, the errors, telemetry as plain data. Data only, no I/O."""
