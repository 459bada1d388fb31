"""What ``@task`` is made of (task.py): options, attempts, retries, timeouts, cache; and what ``current_context()``
gives: stats, logs, output metadata (context.py)."""
