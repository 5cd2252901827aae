"""HTTP API of the collector: who may ask what, in one table."""
