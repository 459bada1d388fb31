"""ClearML's API: what its SDK and its readers call, answered from our store (docs/clearml.md)."""
