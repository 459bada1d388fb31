"""``@task`` and ``@workflow`` (decorator.py): options, attempts, retries, timeouts, cache; and ``current_context()``
(context.py): stats, logs, output metadata, decks."""
