"""Software and destinations that a person approved beside the site file; the next release carries them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models_releases import Allowance
from policies.model import Destination, SoftwareAllow


def list_allowances(session: Session, *, active: bool | None = True) -> list[Allowance]:
    """Allowances by id; ``active`` None = also those taken back."""
    query = select(Allowance).order_by(Allowance.id)
    return list(session.scalars(query if active is None else query.where(Allowance.active == active)))


def software(rows: Iterable[Allowance]) -> tuple[SoftwareAllow, ...]:
    """The software among ``rows``, as a bundle carries it."""
    return tuple(
        SoftwareAllow(*(str(row.subject.get(name, "")) for name in ("source", "package", "digest")))
        for row in rows
        if row.kind == "software"
    )


def destinations(rows: Iterable[Allowance]) -> dict[str, tuple[Destination, ...]]:
    """Zone → destinations among ``rows``, as a bundle carries them."""
    found: dict[str, tuple[Destination, ...]] = {}
    for row in rows:
        if row.kind == "destination":
            one = Destination(row.subject["network"], row.subject.get("port", 0), row.subject["protocol"])
            found[row.zone] = (*found.get(row.zone, ()), one)
    return found
