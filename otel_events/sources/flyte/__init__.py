"""The source of this name."""
