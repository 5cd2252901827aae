"""Opening, answering, correcting, handing in and reviewing a self-inspection. Every function runs in the caller's transaction."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Literal

from msgspec import to_builtins
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.coverage.table import Coverage, Row
from collector.fiscal import span_us
from collector.inspections.facts import Tally, facts_of, propose, tallies
from collector.registers.models_inspections import Inspection, InspectionItem
from policies.ordinance import Article, Ordinance
from protocol.refusal import RefusedError

Answer = Literal["yes", "no", "none"]
LARGEST_SECTION_OWN = 100
"""Questions a section may add."""


def ground(ordinance: Ordinance) -> Article:
    """The article that asks for self-inspection. Raises RefusedError ``bad_value`` when there is none."""
    for article in ordinance.articles:
        if "self_inspection" in article.centre:
            return article
    raise RefusedError(
        "bad_value",
        f"{ordinance.id} has no article about self-inspection",
        "nagoya | meguro | nerima",
    )


def open_inspection(
    session: Session,
    ordinances: Sequence[Ordinance],
    found: Coverage,
    *,
    section: str,
    year: int,
    by: str,
    now_us: int,
) -> Inspection:
    """Begin the inspection of a section and prefill it. The first of ``ordinances`` is the one that asks for it.

    Raises RefusedError ``bad_value`` for a year without a date or an ordinance without self-inspection, ``wrong_state``
    when this section's inspection of the year exists.
    """
    asking = ordinances[0]
    article = ground(asking)
    _must_be_new(session, asking, section, year)
    year_us = _span(year)
    row = Inspection(
        id=f"inspection-{year}-{secrets.token_hex(4)}",
        ordinance=asking.id,
        edition=asking.edition,
        ground=article.number,
        section=section,
        year=year,
        state="open",
        facts_us=now_us,
        opened_by=by,
    )
    session.add(row)
    session.flush()
    happened = tallies(session, section, *year_us, now_us)
    for one in found.rows:
        if set(one.levels) != {"organisation"}:
            session.add(_question(row, one, happened.get((one.ordinance, one.article), Tally())))
    session.flush()
    return row


def _must_be_new(session: Session, ordinance: Ordinance, section: str, year: int) -> None:
    query = select(Inspection).where(
        Inspection.section == section, Inspection.year == year, Inspection.ordinance == ordinance.id
    )
    if (there := session.scalar(query)) is not None:
        raise RefusedError("wrong_state", f"{there.id} is the inspection of {section} for {year}")


def _span(year: int) -> tuple[int, int]:
    """Begin and end of a fiscal year in UTC µs. Raises RefusedError ``bad_value``."""
    try:
        return span_us(year)
    except (ValueError, OverflowError) as error:
        raise RefusedError("bad_value", f"year {year}") from error


def _question(inspection: Inspection, row: Row, happened: Tally) -> InspectionItem:
    """The question about one article, with its facts and the answer they speak for."""
    facts = facts_of(row, happened)
    return InspectionItem(
        inspection_id=inspection.id,
        ordinance=row.ordinance,
        article=row.article,
        question_ja=row.ja,
        question_en=row.en,
        facts=to_builtins(facts),
        proposal=propose(facts),
    )


def get_inspection(session: Session, inspection_id: str, section: str | None) -> Inspection:
    """One inspection, of ``section`` only unless that is None. Raises RefusedError ``not_found``."""
    row = session.get(Inspection, inspection_id)
    if row is None or section not in {None, row.section}:
        raise RefusedError("not_found", f"no inspection {inspection_id}", "sekisho inspections list")
    return row


def items_of(session: Session, inspection_id: str) -> list[InspectionItem]:
    """The questions in order."""
    query = select(InspectionItem).where(InspectionItem.inspection_id == inspection_id)
    return list(session.scalars(query.order_by(InspectionItem.id)))


def add_item(session: Session, row: Inspection, question: str) -> InspectionItem:
    """Add a question of the section's own (Nagoya 60). Raises RefusedError ``wrong_state``, ``bad_value``."""
    _must_be(row, "open")
    if sum(not item.article for item in items_of(session, row.id)) >= LARGEST_SECTION_OWN:
        raise RefusedError("bad_value", f"at most {LARGEST_SECTION_OWN} own questions")
    item = InspectionItem(inspection_id=row.id, question_ja=question, question_en=question, facts={})
    session.add(item)
    session.flush()
    return item


def answer(
    session: Session, row: Inspection, item_id: int, said: Answer, remark: str, *, by: str, now_us: int
) -> InspectionItem:
    """Answer a question. "no", or "yes" against the facts, needs a remark.

    Raises RefusedError ``wrong_state``, ``not_found``, ``bad_value``.
    """
    _must_be(row, "open")
    item = _item(session, row, item_id)
    if not remark.strip() and (said == "no" or (item.proposal and said != item.proposal)):
        raise RefusedError(
            "bad_value", "what is wrong, or why the facts are not the whole story, must be said", "--remark"
        )
    item.answer, item.remark, item.answered_us, item.answered_by = said, remark.strip(), now_us, by
    session.flush()
    return item


def correct(
    session: Session,
    row: Inspection,
    item_id: int,
    *,
    what: str,
    due_us: int,
    done: bool,
    by: str,
    now_us: int,
) -> InspectionItem:
    """Plan or finish the correction of a finding; also after the inspection was handed in.

    Raises RefusedError ``not_found``, ``wrong_state`` for a question that was not answered "no", ``bad_value``.
    """
    item = _item(session, row, item_id)
    if item.answer != "no":
        raise RefusedError("wrong_state", f"item {item_id} is not a finding", "answer it with no first")
    if what.strip():
        item.correction, item.due_us = what.strip(), due_us
    if not item.correction:
        raise RefusedError("bad_value", "say what will be done", "--what")
    if done:
        item.corrected_us, item.corrected_by = now_us, by
    session.flush()
    return item


def submit(session: Session, row: Inspection, *, by: str, now_us: int) -> Inspection:
    """Hand it in. Raises RefusedError ``wrong_state``, also while questions are open or findings lack a correction."""
    _must_be(row, "open")
    items = items_of(session, row.id)
    if unanswered := [item.id for item in items if not item.answer]:
        raise RefusedError("wrong_state", f"{len(unanswered)} questions are not answered", _some(unanswered))
    if bare := [item.id for item in items if item.answer == "no" and not item.correction]:
        raise RefusedError("wrong_state", f"{len(bare)} findings have no correction", _some(bare))
    row.state, row.submitted_us, row.submitted_by = "submitted", now_us, by
    session.flush()
    return row


def review(session: Session, row: Inspection, text: str, *, accept: bool, by: str, now_us: int) -> Inspection:
    """Accept an inspection that was handed in, or give it back. Raises RefusedError ``wrong_state``, ``self_approval``."""
    _must_be(row, "submitted")
    if by == row.submitted_by:
        raise RefusedError("self_approval", "who handed it in does not review it")
    row.state = "reviewed" if accept else "open"
    row.review, row.reviewed_us, row.reviewed_by = text, now_us, by
    session.flush()
    return row


def _must_be(row: Inspection, state: str) -> None:
    if row.state != state:
        raise RefusedError("wrong_state", f"{row.id} is {row.state}, not {state}")


def _item(session: Session, row: Inspection, item_id: int) -> InspectionItem:
    item = session.get(InspectionItem, item_id)
    if item is None or item.inspection_id != row.id:
        raise RefusedError("not_found", f"{row.id} has no item {item_id}")
    return item


def _some(numbers: Sequence[int]) -> str:
    return "items " + ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")  # noqa: PLR2004
