"""The agent on a municipal PC: senses, judges, stops, and streams what happened."""

VERSION = "0.1.0"
"""As in ``pyproject.toml``; looking it up in the package metadata would cost the resident process 3 MiB."""
