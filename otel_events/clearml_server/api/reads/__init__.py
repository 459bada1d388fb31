"""The endpoints of ``events.*`` that read, and those that delete; ``table.ENDPOINTS`` has a row for each."""
