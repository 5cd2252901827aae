"""Indicator lists (Nerima 10): hashes, networks and names that somebody warned of, dated and kept.

Values are compared in one canonical form, so that a list may write them as it likes.
"""

from __future__ import annotations

import csv
import ipaddress
import re
import secrets
from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models_inspections import Indicator, IndicatorList
from policies.addresses import Network, parse_address, parse_network
from protocol.refusal import RefusedError

Kind = Literal["hash", "network", "domain"]
MOST = 200_000
"""Values of one list."""
_HASH = re.compile(r"[0-9a-f]{64}")
_DOMAIN = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z][a-z0-9-]{0,61}[a-z0-9]")
_WIDEST = {4: 1 << 24, 6: 1 << 96}
"""IP version → addresses of the widest network a list may name: one that names the Internet would flag everything."""
_SINGLE = {4: "/32", 6: "/128"}
_DEFANGED = (("[.]", "."), ("(.)", "."), ("hxxp", "http"))
"""How lists write values so that nobody clicks on them."""


class Value(NamedTuple):
    """One indicator in canonical form."""

    kind: Kind
    value: str


class BadRow(Struct, frozen=True):
    """A row that is none; ``line`` counts from 1."""

    line: int
    what: str


def read_csv(text: str) -> tuple[list[Value], list[BadRow]]:
    """Values of a list: one to a row, in the first column; ``#`` begins a remark, a header row is passed over.

    Raises RefusedError ``oversized``.
    """
    found: dict[Value, None] = {}
    bad: list[BadRow] = []
    for line, row in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        cell = _first_cell(row)
        if not cell or cell.startswith("#") or (line == 1 and cell.lower() in {"value", "indicator", "ioc"}):
            continue
        value = canonical(cell)
        if value is None:
            bad.append(BadRow(line, f"neither SHA-256, address, network nor name: {cell[:80]}"))
        else:
            found[value] = None
        if len(found) > MOST:
            raise RefusedError("oversized", f"more than {MOST:,} values", "split the list")
    return list(found), bad


def _first_cell(row: str) -> str:
    try:
        return next(csv.reader([row]), [""])[0].strip()
    except (csv.Error, IndexError):
        return row.strip()


def canonical(text: str) -> Value | None:
    """One value as it is compared: lower case, without scheme, path and the dots people put in brackets."""
    plain = text.strip().lower()
    for written, meant in _DEFANGED:
        plain = plain.replace(written, meant)
    if _HASH.fullmatch(plain):
        return Value("hash", plain)
    host = re.sub(r"^[a-z]+://", "", plain)
    if "://" in plain or _DOMAIN.fullmatch(host.partition("/")[0].partition(":")[0]):
        host = host.partition("/")[0].partition(":")[0]
    host = host.removeprefix("*.").rstrip(".")
    try:
        network = parse_network(host)
    except ValueError:
        return Value("domain", host) if _DOMAIN.fullmatch(host) else None
    if network.last - network.first >= _WIDEST[network.version]:
        return None
    return Value(
        "network", str(ipaddress.ip_network(host, strict=False)).removesuffix(_SINGLE[network.version])
    )


def add_list(
    session: Session,
    values: Iterable[Value],
    *,
    title: str,
    source: str,
    from_us: int,
    until_us: int,
    by: str,
    now_us: int,
) -> IndicatorList:
    """Keep a list. Raises RefusedError ``bad_value`` when it is empty or ends before it begins."""
    kept = list(values)
    if not kept or until_us <= from_us:
        raise RefusedError("bad_value", "a list needs values, and an end after its beginning")
    row = IndicatorList(
        id=f"indicators-{secrets.token_hex(4)}",
        title=title,
        source=source,
        count=len(kept),
        from_us=from_us,
        until_us=until_us,
        created_us=now_us,
        created_by=by,
    )
    session.add(row)
    session.flush()
    session.add_all(Indicator(list_id=row.id, kind=one.kind, value=one.value) for one in kept)
    session.flush()
    return row


def get_list(session: Session, list_id: str) -> IndicatorList:
    """One list. Raises RefusedError ``not_found``."""
    row = session.get(IndicatorList, list_id)
    if row is None:
        raise RefusedError("not_found", f"no indicator list {list_id}", "sekisho indicators list")
    return row


def withdraw(row: IndicatorList, *, by: str, now_us: int) -> None:
    """Stop using a list; it stays. Raises RefusedError ``wrong_state``."""
    if row.withdrawn_us:
        raise RefusedError("wrong_state", f"{row.id} was withdrawn already")
    row.withdrawn_us, row.withdrawn_by = now_us, by


class IndicatorTable:
    """All values in force, for look-up by what an event names."""

    def __init__(self, entries: Iterable[tuple[str, Value]], lists: frozenset[str] = frozenset()) -> None:
        """``entries``: (name of the list, value); ``lists``: ids of the lists they are of."""
        self.lists = lists
        self._exact: dict[str, str] = {}
        self._networks: list[tuple[Network, str]] = []
        for name, value in entries:
            if value.kind == "network" and (network := parse_network(value.value)).first != network.last:
                self._networks.append((network, name))
            else:
                self._exact[value.value] = name

    def __len__(self) -> int:
        return len(self._exact) + len(self._networks)

    def find(self, values: Iterable[str]) -> str:
        """Name of a list that holds one of these hashes, addresses or names (or a name above one); empty = none."""
        for value in values:
            for form in _forms(value.lower().rstrip(".")):
                if found := self._exact.get(form):
                    return found
            address = parse_address(value) if self._networks and value else None
            if address is not None:
                for network, name in self._networks:
                    if network.holds(address):
                        return name
        return ""


def _forms(value: str) -> Iterator[str]:
    """The value and, for a DNS name, every name above it."""
    while value:
        yield value
        value = value.partition(".")[2]


def lists_in_force(session: Session, now_us: int) -> frozenset[str]:
    """Ids of the lists in force (UTC µs)."""
    query = select(IndicatorList.id).where(
        IndicatorList.withdrawn_us == 0, IndicatorList.from_us <= now_us, IndicatorList.until_us > now_us
    )
    return frozenset(session.scalars(query))


def in_force(session: Session, now_us: int) -> IndicatorTable:
    """All values of the lists in force (UTC µs)."""
    return _table(session, lists_in_force(session, now_us))


def of_list(session: Session, row: IndicatorList) -> IndicatorTable:
    """The values of one list, whatever its dates."""
    return _table(session, frozenset({row.id}))


def _table(session: Session, lists: frozenset[str]) -> IndicatorTable:
    query = (
        select(IndicatorList.title, Indicator.kind, Indicator.value)
        .join(Indicator, Indicator.list_id == IndicatorList.id)
        .where(IndicatorList.id.in_(lists))
    )
    entries = (
        (title, Value(kind, value))  # type: ignore[arg-type]  # only kinds of ``Kind`` are ever written
        for title, kind, value in session.execute(query)
    )
    return IndicatorTable(entries, lists)
