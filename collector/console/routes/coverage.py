"""Coverage: which article is served how on which PC."""

from __future__ import annotations

from litestar import get
from sqlalchemy.orm import Session

from collector.console.context import Console
from collector.console.roles import Caller
from collector.console.routes.common import (
    Call,
    OptionalQueryText,
    QueryText,
    caller_of,
    console_of,
    host_for,
    section_for,
)
from collector.coverage.facts import pcs
from collector.coverage.table import Coverage, coverage
from collector.desk.release import current_bundle
from collector.registers import agents
from collector.registers.models import Agent
from policies.ordinance import Ordinance
from protocol.refusal import RefusedError


@get("/coverage", sync_to_thread=True)
def get_coverage(
    request: Call, ordinance: QueryText = "", section: OptionalQueryText = None, host: QueryText = ""
) -> Coverage:
    """Every article of the ordinances in use (or of ``ordinance``) on every PC the caller may see.

    404 ``not_found`` for an ordinance or PC that is not there.
    """
    caller, console = caller_of(request), console_of(request)
    with console.store.read() as session:
        return judged(
            session, console, chosen(session, console, ordinance), _hosts(session, caller, section, host)
        )


def chosen(session: Session, console: Console, ordinance: str) -> list[Ordinance]:
    """One shipped ordinance, or all in use. Raises RefusedError ``not_found``."""
    if not ordinance:
        return [console.ordinances[name] for name in console.in_use(session) if name in console.ordinances]
    if ordinance not in console.ordinances:
        raise RefusedError(
            "not_found", f"no ordinance {ordinance!r}", "one of " + ", ".join(sorted(console.ordinances))
        )
    return [console.ordinances[ordinance]]


def judged(session: Session, console: Console, ordinances: list[Ordinance], rows: list[Agent]) -> Coverage:
    """The coverage of these ordinances over these PCs, by the release in force."""
    bundle = current_bundle(session)
    return coverage(
        ordinances,
        bundle.rules if bundle else (),
        pcs(rows, console.clock()),
        generation=bundle.generation if bundle else 0,
    )


def _hosts(session: Session, caller: Caller, section: str | None, host: str) -> list[Agent]:
    if host:
        return [host_for(session, host, caller)]
    wanted = section_for(caller, section)
    return agents.list_agents(session, section=wanted)


HANDLERS = (get_coverage,)
