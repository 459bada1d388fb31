"""Read-only views over the journal: explain, metadata, execution spans."""
