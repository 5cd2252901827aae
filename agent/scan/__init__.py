"""Looks into files that were written to a medium: individual numbers and confidentiality labels, never content.

``job`` is what both sides share, ``parent`` the resident agent's side; everything else only ever runs in a short-lived
child (``python -m agent.scan``), one process for each file, with limits, without network and without rights.
"""
