"""The nine items of a management review (Nerima 11(5)), in words of our own, and what the collector knows of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from collector.coverage.table import Coverage
from collector.fiscal import span_us
from collector.registers.audit import verify
from collector.registers.models import Alert, OrderRow, PermitRow, Release
from collector.registers.models_audit import AuditEntry
from collector.registers.models_inspections import IndicatorList, Inspection, InspectionItem
from protocol.text import Text

GRAVE = ("critical", "high")


class Fact(Struct, frozen=True):
    """One figure. ``value`` is text so that JSON, HTML and terminal show the same."""

    ja: str
    en: str
    value: str


class Year(Struct, frozen=True):
    """A fiscal year and what is asked of it. Times are UTC µs, ``until_us`` exclusive."""

    year: int
    since_us: int
    until_us: int
    coverage: Coverage


Gather = Callable[[Session, Year], Iterable[Fact]]


def year_of(year: int, coverage: Coverage) -> Year:
    """The span of a fiscal year. Raises ValueError."""
    return Year(year, *span_us(year), coverage)


def _count(session: Session, column: Any, year: Year, *where: Any) -> int:
    query = select(func.count()).where(column >= year.since_us, column < year.until_us, *where)
    return session.scalar(query) or 0


def _plan(session: Session, year: Year) -> Iterable[Fact]:
    released = _count(session, Release.released_us, year, Release.status == "released")
    yield Fact("方針の発行", "policy releases", str(released))
    generation = str(year.coverage.generation or "-")
    yield Fact("施行中の方針の版", "policy in force, generation", generation)


def _education(session: Session, year: Year) -> Iterable[Fact]:
    people = (
        select(Alert.person)
        .where(Alert.event_us >= year.since_us, Alert.event_us < year.until_us, Alert.person != "")
        .group_by(Alert.person)
        .having(func.sum(Alert.count) > 1)
    )
    again = session.scalar(select(func.count()).select_from(people.subquery())) or 0
    yield Fact("違反を繰り返した人(研修の対象)", "people with repeated violations (to be taught)", str(again))


def _inspections(session: Session, year: Year) -> Iterable[Fact]:
    states = (
        select(Inspection.state, func.count()).where(Inspection.year == year.year).group_by(Inspection.state)
    )
    found = {state: count for state, count in session.execute(states)}  # noqa: C416 - rows are not pairs to mypy
    yield Fact("点検票", "inspection sheets", str(sum(found.values())))
    yield Fact("うち確認済み", "of these reviewed", str(found.get("reviewed", 0)))
    yield Fact("不適とされた項目", "findings", str(_findings(session, year)))
    yield Fact(
        "うち未是正",
        "of these not corrected",
        str(_findings(session, year, InspectionItem.corrected_us == 0)),
    )


def _findings(session: Session, year: Year, *where: Any) -> int:
    query = (
        select(func.count())
        .select_from(InspectionItem)
        .join(Inspection, Inspection.id == InspectionItem.inspection_id)
        .where(Inspection.year == year.year, InspectionItem.answer == "no", *where)
    )
    return session.scalar(query) or 0


def _audit(session: Session, year: Year) -> Iterable[Fact]:
    broken = verify(session)
    yield Fact(
        "監査記録の連鎖が切れた所",
        "break in the chain of the audit log",
        f"{broken.number}" if broken else "0",
    )
    yield Fact("操作の記録", "recorded operations", str(_count(session, AuditEntry.time_us, year)))
    refused = _count(session, AuditEntry.time_us, year, AuditEntry.status >= 400)  # noqa: PLR2004
    yield Fact("うち断ったもの", "of these refused", str(refused))


def _risk_measures(session: Session, year: Year) -> Iterable[Fact]:
    planned = _findings(session, year, InspectionItem.correction != "")
    yield Fact("是正を決めた項目", "findings with a correction planned", str(planned))
    done = _findings(session, year, InspectionItem.corrected_us > 0)
    yield Fact("是正を終えた項目", "findings corrected", str(done))


def _risk_results(session: Session, year: Year) -> Iterable[Fact]:
    before = Year(year.year - 1, *span_us(year.year - 1), year.coverage)
    for level in GRAVE:
        now, then = (_alerts(session, one, Alert.level == level) for one in (year, before))
        yield Fact(f"警報({level})、前年度", f"alerts ({level}), year before", f"{now} ({then})")
    lists = session.scalar(select(func.count()).select_from(IndicatorList)) or 0
    yield Fact("脅威の目印の一覧", "indicator lists", str(lists))


def _alerts(session: Session, year: Year, *where: Any) -> int:
    query = select(func.sum(Alert.count)).where(
        Alert.event_us >= year.since_us, Alert.event_us < year.until_us, *where
    )
    return session.scalar(query) or 0


def _incidents(session: Session, year: Year) -> Iterable[Fact]:
    yield Fact("重大な警報", "grave alerts", str(_alerts(session, year, Alert.level.in_(GRAVE))))
    open_ = _alerts(session, year, Alert.level.in_(GRAVE), Alert.acknowledged_us == 0)
    yield Fact("うち未確認", "of these not yet seen to", str(open_))
    cut = _count(session, OrderRow.issued_us, year, OrderRow.kind == "isolate")
    yield Fact("端末の遮断の命令", "orders to isolate a PC", str(cut))
    failed = _count(session, OrderRow.issued_us, year, OrderRow.state == "failed")
    yield Fact("うち効かなかったもの", "of these without effect", str(failed))


def _contractors(session: Session, year: Year) -> Iterable[Fact]:
    rows = select(func.count()).where(
        PermitRow.kind == "contractor", PermitRow.from_us < year.until_us, PermitRow.until_us >= year.since_us
    )
    yield Fact("受託者の許可", "permits of contractors", str(session.scalar(rows) or 0))
    late = _alerts(session, year, Alert.rule_id.like("%contractor%"))
    yield Fact("受託者に関する警報", "alerts about contractors", str(late))


def _state(_session: Session, year: Year) -> Iterable[Fact]:
    yield Fact("端末", "PCs", str(year.coverage.hosts))
    yield Fact("うち沈黙中", "of these silent", str(len(year.coverage.silent)))
    for ordinance, counts in year.coverage.totals.items():
        shown = ", ".join(f"{state} {count}" for state, count in sorted(counts.items()))
        yield Fact(f"{ordinance} の条の対応", f"articles of {ordinance}", shown)


ITEMS: tuple[tuple[Text, Gather], ...] = (
    (Text("年度の運営計画", "The year's plan of operation"), _plan),
    (Text("教育の結果と効果", "Education: results and effect"), _education),
    (Text("自己点検の結果と効果", "Self-inspection: results and effect"), _inspections),
    (Text("監査の結果", "Results of audits"), _audit),
    (Text("監査で分かったリスクへの対処の進み", "Measures against risks that audits found"), _risk_measures),
    (Text("リスクマネジメントの結果", "Results of risk management"), _risk_results),
    (Text("事故等の報告", "Incidents"), _incidents),
    (Text("委託事業者の管理", "Contractors"), _contractors),
    (Text("マネジメントの実施状況", "State of security management"), _state),
)
"""Item 1 to 9 in the order of the article."""
