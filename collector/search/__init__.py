"""Search over stored events: one query object for API, console and CLI."""
