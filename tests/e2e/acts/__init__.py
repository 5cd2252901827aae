"""The acts of the story: steps that belong together, each proved by trying."""
