"""The operator side: key files and the `sekisho` command."""
