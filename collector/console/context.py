"""What the routes work with: the database, the desks' sources, and the pokes to the other processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import zmq
from sqlalchemy.orm import Session

from collector import bus
from collector.config import Layout
from collector.console.watch import Watch
from collector.desk.draft import Sources
from collector.desk.site import load_site
from collector.desk.trust import trust_in_force
from collector.registers import agents, assets, permits
from collector.registers.models import Setting
from collector.registers.store import now_us, open_store
from policies.model import Rule
from policies.ordinance import Ordinance
from policies.shipped import load_shipped

BASELINE = "baseline"
"""Common ground of all cities: rules that serve no single ordinance cite it, so it is always in use."""


class Console:
    """One API process. Raises RefusedError ``version`` when the control database is not at this program's revision."""

    def __init__(self, data: Path, clock: Callable[[], int] = now_us) -> None:
        self.layout = Layout(data)
        self.clock = clock
        self.store = open_store(self.layout.control)
        self.watch = Watch(self.layout.control)
        self.rules: tuple[Rule, ...]
        self.ordinances: dict[str, Ordinance]
        self.ordinances, self.rules = load_shipped()
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._pokes = threading.Lock()
        """A ZeroMQ socket may be used by one thread at a time; routes run in several."""
        self._outlets = {
            who: bus.outlet(self._context, self.layout.run, who) for who in ("gateway", "detector")
        }

    def close(self) -> None:
        """Give everything back."""
        for outlet in self._outlets.values():
            outlet.close()
        self._context.term()
        self.watch.close()
        self.store.close()

    def poke(self, what: bus.What, *whom: Literal["gateway", "detector"]) -> None:
        """Tell other processes to look at the database; call it after the commit."""
        with self._pokes:
            for who in whom:
                bus.poke(self._outlets[who], what)

    def sources(self, session: Session) -> Sources:
        """Everything a draft is made of, as it is now. Raises SiteError, OSError, RefusedError."""
        return Sources(
            city=trust_in_force(session).city,
            site=load_site(self.layout.policy),
            rules=self.rules,
            ordinances=self.ordinances,
            in_use=self.in_use(session),
            permits=permits.bundle_permits(session, self.ordinances, self.clock()),
            devices=assets.owned_subjects(session),
            assignments=agents.assignments(session),
        )

    def in_use(self, session: Session) -> tuple[str, ...]:
        """Ordinances of this installation: the common ground and the settings row ``ordinances`` (JSON list).

        Without that row, all that are shipped.
        """
        row = session.get(Setting, "ordinances")
        chosen: list[str] = json.loads(row.value) if row else list(self.ordinances)
        return tuple(dict.fromkeys([BASELINE, *chosen]))
