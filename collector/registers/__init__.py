"""Registers: what the city knows of its PCs, people, assets and permits, and what was ordered, released and done."""
