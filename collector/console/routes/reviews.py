"""The management review of a fiscal year: nine items with facts, and what the CISO says of each."""

from __future__ import annotations

from typing import Annotated

from litestar import get, post
from litestar.params import JSONBody, PathParameter
from msgspec import Meta, Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.console.context import Console
from collector.console.gate import note
from collector.console.routes.common import Call, Reason, caller_of, console_of
from collector.console.routes.coverage import chosen, judged
from collector.desk.trust import trust_in_force
from collector.registers import agents
from collector.registers.models_inspections import ReviewRemark
from collector.reviews.items import ITEMS, Fact, year_of

YearPath = Annotated[int, PathParameter(ge=2000, le=9000)]


class NewRemark(Struct, frozen=True, forbid_unknown_fields=True):
    """What is said about an item; ``approved``: the CISO approves it."""

    item: Annotated[int, Meta(ge=1, le=9)]
    text: Reason
    approved: bool = False


class RemarkView(Struct, frozen=True):
    """A remark; the newest of an item counts, the others stay."""

    text: str
    approved: bool
    by: str
    time_us: int


class ItemView(Struct, frozen=True, kw_only=True):
    """One of the nine items."""

    number: int
    ja: str
    en: str
    facts: tuple[Fact, ...]
    remarks: tuple[RemarkView, ...]


class ReviewView(Struct, frozen=True, kw_only=True):
    """The review of a fiscal year. Times are UTC µs."""

    city: str
    year: int
    made_us: int
    items: tuple[ItemView, ...]


@get("/reviews/{year:int}", sync_to_thread=True)
def get_review(request: Call, year: YearPath) -> ReviewView:
    """The nine items, with facts as of now and all remarks, newest first."""
    console = console_of(request)
    with console.store.read() as session:
        return _review(session, console, year)


@post("/reviews/{year:int}/remarks", sync_to_thread=True)
def add_remark(request: Call, year: YearPath, data: JSONBody[NewRemark]) -> ReviewView:
    """Say something about an item, or approve it. Nothing that was said is ever changed."""
    caller, console = caller_of(request), console_of(request)
    note(request.scope, item=data.item, year=year)
    with console.store.write() as session:
        session.add(
            ReviewRemark(
                year=year,
                item=data.item,
                text=data.text,
                approved=data.approved,
                by=caller.name,
                time_us=console.clock(),
            )
        )
        session.flush()
        return _review(session, console, year)


def _review(session: Session, console: Console, year: int) -> ReviewView:
    found = judged(session, console, chosen(session, console, ""), agents.list_agents(session))
    span = year_of(year, found)
    remarks: dict[int, list[RemarkView]] = {}
    query = select(ReviewRemark).where(ReviewRemark.year == year).order_by(ReviewRemark.id.desc())
    for row in session.scalars(query):
        remarks.setdefault(row.item, []).append(RemarkView(row.text, row.approved, row.by, row.time_us))
    return ReviewView(
        city=trust_in_force(session).city,
        year=year,
        made_us=console.clock(),
        items=tuple(
            ItemView(
                number=number,
                ja=title.ja,
                en=title.en,
                facts=tuple(gather(session, span)),
                remarks=tuple(remarks.get(number, ())),
            )
            for number, (title, gather) in enumerate(ITEMS, 1)
        ),
    )


HANDLERS = (get_review, add_remark)
