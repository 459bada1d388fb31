"""ClearML as a service: its API, its file server, and the store behind both."""
