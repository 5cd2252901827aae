"""What a release (and, at the centre, the registers) know about one event: one module for each subject.

A look-up is a pure function of the fields named in ``about``, the place of the PC and the moment, so its answer may be
remembered by exactly these. ``BY_KIND`` is the one table; a kind that is not in it knows only its place.
"""

from __future__ import annotations

from policies.facts import network, people, software, things
from policies.facts.base import Facts

BY_KIND: dict[str, Facts] = {**things.FACTS, **software.FACTS, **network.FACTS, **people.FACTS}
"""Event kind → what is looked up for it."""
