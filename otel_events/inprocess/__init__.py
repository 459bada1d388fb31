"""What runs in the process of a user: its context, the queue, and where events are handed over or sent."""
