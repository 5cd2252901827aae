"""What all lanes of one gateway share."""

from __future__ import annotations

from dataclasses import dataclass

from collector.evidence.journal import Journal
from collector.gateway.clock import Clock
from collector.gateway.lanes import Lanes
from collector.gateway.ledger import Ledger
from collector.gateway.roster import Roster
from collector.gateway.stats import Stats


@dataclass(frozen=True, slots=True)
class Hub:
    """Sockets, memory, journal, and the way to the control database."""

    lanes: Lanes
    roster: Roster
    journal: Journal
    ledger: Ledger
    clock: Clock
    stats: Stats
