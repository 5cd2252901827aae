"""The commands of ``sekisho``, one file per subject; ``add_to`` hangs them into the command line."""
