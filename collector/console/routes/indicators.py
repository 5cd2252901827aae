"""Indicator lists: import, list, withdraw, and look back in stored events."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.orm import Session

from collector.console.context import Console
from collector.console.gate import note
from collector.console.routes.common import Call, Micros, PathText, Reason, caller_of, console_of
from collector.detection.alerts import alert_row
from collector.detection.rules import flag_of_hit
from collector.registers import indicators
from collector.registers.indicators import BadRow
from collector.registers.models import Agent, Alert
from collector.registers.models_inspections import IndicatorList
from collector.search.events import EventSearch
from collector.search.index import clamped
from collector.search.lookback import Match, look_back
from policies.model import Hit, Rule
from protocol.events import kind_of

LARGEST_LIST = 16 * 1024 * 1024
"""Bytes of a list; a row has at most some 80."""
SHOWN = 100
RULES = {
    "connection": "indicator_connection",
    "dns": "indicator_name",
    "process": "indicator_program",
    "software": "indicator_software",
    "media": "indicator_software",
}
"""Family of the event → the rule that flags such an event when it comes in; looking back cites the same."""


class NewList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A list as CSV text: one value (SHA-256, address, network, name) in the first column of each row."""

    title: Annotated[str, Meta(min_length=1, max_length=256)]
    source: Annotated[str, Meta(min_length=1, max_length=256)]
    from_us: Micros
    until_us: Micros
    text: Annotated[str, Meta(max_length=LARGEST_LIST)]


class ListView(Struct, frozen=True, kw_only=True):
    """A list. Times are UTC µs; ``bad`` holds the first rows that are no indicator, only in the answer to the import."""

    id: str
    title: str
    source: str
    count: int
    from_us: int
    until_us: int
    created_us: int
    created_by: str
    withdrawn_us: int
    withdrawn_by: str
    matched_us: int
    matches: int
    bad: tuple[BadRow, ...] = ()
    bad_count: int = 0


class Span(Struct, frozen=True, forbid_unknown_fields=True):
    """How far back to look (UTC µs), and why."""

    since_us: Micros
    reason: Reason


class MatchView(Struct, frozen=True, kw_only=True):
    """A listed value that a PC named before; each is an alert now."""

    host: str
    value: str
    kind: str
    count: int
    first_us: int
    last_us: int


@get("/indicators", sync_to_thread=True)
def list_indicators(request: Call) -> list[ListView]:
    """All lists, newest first; withdrawn ones too."""
    with console_of(request).store.read() as session:
        rows = session.scalars(select(IndicatorList).order_by(IndicatorList.created_us.desc()))
        return [_view(row) for row in rows]


@post("/indicators", request_max_body_size=LARGEST_LIST + 65_536, sync_to_thread=True)
def add(request: Call, data: JSONBody[NewList]) -> ListView:
    """Import a list. Good rows are taken, the others are named; 422 ``bad_value`` when no row is good."""
    caller, console = caller_of(request), console_of(request)
    values, bad = indicators.read_csv(data.text)
    note(request.scope, title=data.title, source=data.source, values=len(values), bad=len(bad))
    with console.store.write() as session:
        row = indicators.add_list(
            session,
            values,
            title=data.title,
            source=data.source,
            from_us=data.from_us,
            until_us=data.until_us,
            by=caller.name,
            now_us=console.clock(),
        )
        view = _view(row, bad)
    console.poke("registers", "detector")
    return view


@post("/indicators/{list_id:str}/withdraw", status_code=200, sync_to_thread=True)
def withdraw(request: Call, list_id: PathText) -> ListView:
    """Stop using a list."""
    caller, console = caller_of(request), console_of(request)
    with console.store.write() as session:
        row = indicators.get_list(session, list_id)
        indicators.withdraw(row, by=caller.name, now_us=console.clock())
        view = _view(row)
    console.poke("registers", "detector")
    return view


@post("/indicators/{list_id:str}/match", status_code=200, sync_to_thread=True)
def match(request: Call, list_id: PathText, data: JSONBody[Span]) -> list[MatchView]:
    """Search stored events for the values of a list; each PC and value found becomes an alert, once."""
    console = console_of(request)
    note(request.scope, reason=data.reason, list=list_id)
    with console.store.read() as session:
        table = indicators.of_list(session, indicators.get_list(session, list_id))
    search = EventSearch(console.layout.data)
    try:
        found = look_back(search, table, since_us=data.since_us, until_us=console.clock())
    finally:
        search.close()
    with console.store.write() as session:
        row = indicators.get_list(session, list_id)
        row.matched_us, row.matches = console.clock(), len(found)
        _alert(session, console, row.title, found)
        names = {one.id: one.hostname for one in session.scalars(select(Agent))}
    return [
        MatchView(
            host=names.get(one.found.agent_id) or one.found.agent_id,
            value=one.value,
            kind=kind_of(one.found.event),
            count=one.count,
            first_us=one.found.event.time_us,
            last_us=one.last_us,
        )
        for one in found
    ]


def _alert(session: Session, console: Console, title: str, found: list[Match]) -> None:
    rules = {rule.id: rule for rule in console.rules}
    for one in found:
        rule = rules[RULES[kind_of(one.found.event).partition(".")[0]]]
        row = _alert_row(rule, title, one, console.clock())
        session.execute(insert(Alert).values(row).on_conflict_do_nothing())


def _alert_row(rule: Rule, title: str, match: Match, now_us: int) -> dict[str, object]:
    """The alert that the rule would have made then, saying that it was found by looking back."""
    flag = flag_of_hit(match.found.agent_id, match.found.seq, match.found.event, Hit(rule))
    row = alert_row(flag, person=flag.person, summary=False, now_us=now_us)
    return row | {
        "title_ja": f"{rule.title_ja}(過去にさかのぼって照合: {title})",
        "title_en": f"{rule.title_en} (looked back: {title})",
        "count": match.count,
        "last_us": clamped(match.last_us),
    }


def _view(row: IndicatorList, bad: list[BadRow] | None = None) -> ListView:
    values = {name: getattr(row, name) for name in ListView.__struct_fields__ if not name.startswith("bad")}
    return ListView(**values, bad=tuple((bad or [])[:SHOWN]), bad_count=len(bad or []))


HANDLERS = (list_indicators, add, withdraw, match)
