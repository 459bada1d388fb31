"""The stack as processes: the real collector and Prometheus, built from Go modules, and what we ship for them."""
