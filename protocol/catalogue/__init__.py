"""The event catalogue in parts, one module for each subject; ``protocol.events`` puts them together."""
