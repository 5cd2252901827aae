"""What the routes work with: the database, the desks' sources, and the pokes to the other processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import zmq
from sqlalchemy.orm import Session

from collector import bus
from collector.config import Layout
from collector.console.watch import Watch
from collector.desk.draft import Sources
from collector.desk.law import LawBook
from collector.desk.own_rules import RuleBook
from collector.desk.site import load_site
from collector.desk.studies import Studies
from collector.desk.trust import trust_in_force
from collector.registers import agents, allowances, assets, permit_release
from collector.registers.models import Setting
from collector.registers.store import now_us, open_store
from policies.model import Rule
from policies.ordinance import Ordinance

BASELINE = "baseline"
"""Common ground of all cities: rules that serve no single ordinance cite it, so it is always in use."""


class Console:
    """One API process. Raises RefusedError ``version`` when the control database is not at this program's revision."""

    def __init__(self, data: Path, clock: Callable[[], int] = now_us) -> None:
        self.layout = Layout(data)
        self.clock = clock
        self.store = open_store(self.layout.control)
        self.watch = Watch(self.layout.control)
        self.studies = Studies(data, self.store)
        self._rules = RuleBook(data)
        self._law = LawBook(self.layout.policy)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._pokes = threading.Lock()
        """A ZeroMQ socket may be used by one thread at a time; routes run in several."""
        self._outlets = {
            who: bus.outlet(self._context, self.layout.run, who) for who in ("gateway", "detector")
        }

    @property
    def ordinances(self) -> Mapping[str, Ordinance]:
        """The ordinances as this city set them; while a file of them has a mistake, as they were before."""
        return self._law.current()

    @property
    def shipped_rules(self) -> tuple[Rule, ...]:
        """The package's rules among them. Raises SiteError and OSError."""
        return self._rules.shipped(load_site(self.layout.policy).lists)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules of this city as their files say now. Raises SiteError and OSError."""
        return self._rules.library(load_site(self.layout.policy).lists).rules

    def close(self) -> None:
        """Give everything back."""
        for outlet in self._outlets.values():
            outlet.close()
        self._context.term()
        self.watch.close()
        self.studies.close()
        self.store.close()

    def poke(self, what: bus.What, *whom: Literal["gateway", "detector"]) -> None:
        """Tell other processes to look at the database; call it after the commit."""
        with self._pokes:
            for who in whom:
                bus.poke(self._outlets[who], what)

    def sources(self, session: Session) -> Sources:
        """Everything a draft is made of, as it is now. Raises SiteError, OSError, RefusedError."""
        beside = allowances.list_allowances(session, active=None)
        allowed, lapsed = ([row for row in beside if row.active is active] for active in (True, False))
        site = load_site(self.layout.policy)
        library = self._rules.library(site.lists)
        return Sources(
            city=trust_in_force(session).city,
            site=site,
            rules=library.rules,
            correlations=library.correlations,
            ordinances=self._law.fresh(),
            in_use=self.in_use(session),
            permits=permit_release.bundle_permits(session, self.ordinances, self.clock()),
            contractors=permit_release.contractor_accounts(session, self.clock()),
            devices=assets.owned_subjects(session),
            software=allowances.software(allowed),
            destinations=allowances.destinations(allowed),
            lapsed_software=allowances.software(lapsed),
            lapsed_destinations=allowances.destinations(lapsed),
            assignments=agents.assignments(session),
        )

    def in_use(self, session: Session) -> tuple[str, ...]:
        """Ordinances of this installation: the common ground and the settings row ``ordinances`` (JSON list).

        Without that row, all that are shipped.
        """
        row = session.get(Setting, "ordinances")
        chosen: list[str] = json.loads(row.value) if row else list(self.ordinances)
        return tuple(dict.fromkeys([BASELINE, *chosen]))
