"""What only the collector knows about an event: its registers and indicator lists (``policies.facts.base.Centre``)."""

from __future__ import annotations

from sqlalchemy.orm import Session

from collector.registers.indicators import IndicatorTable, in_force, lists_in_force
from collector.registers.neighbours import city_macs
from collector.registers.store import now_us

MOST_FRESH = 4096
"""MACs learned between two looks at the registers."""
NO_LISTS = IndicatorTable(())


class RegisterCentre:
    """Implements ``Centre`` over what the registers said when it was made."""

    def __init__(self, macs: frozenset[str] = frozenset(), indicators: IndicatorTable = NO_LISTS) -> None:
        self.macs = macs
        self.indicators = indicators
        self._fresh: set[str] = set()

    def learn(self, mac: str) -> None:
        """An enrolled PC just said that this is its own; the registers say so a moment later."""
        if len(self._fresh) < MOST_FRESH:
            self._fresh.add(mac)

    def asset_of_mac(self, mac: str) -> str:
        """``city`` for a registered machine and for a PC that is enrolled."""
        return "city" if mac in self.macs or mac in self._fresh else "unknown"

    def indicator_of(self, values: tuple[str, ...]) -> str:
        """Name of the list that holds one of these; empty = none does."""
        return self.indicators.find(values)


def load_centre(session: Session, have: RegisterCentre) -> RegisterCentre | None:
    """The registers as they are now; None when they say what ``have`` does."""
    macs, lists, moment = city_macs(session), have.indicators, now_us()
    if lists_in_force(session, moment) != lists.lists:
        lists = in_force(session, moment)
    return None if (macs, lists) == (have.macs, have.indicators) else RegisterCentre(macs, lists)
