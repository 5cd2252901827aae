"""The collector: keeps the evidence, flags violations article by article, and lets the CISO cut a line."""
