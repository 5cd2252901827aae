"""Isolation desk: takes signed orders, watches them take effect."""
