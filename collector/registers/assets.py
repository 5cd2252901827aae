"""The asset register: devices, media and PCs that the city owns (名古屋 第34条).

Functions over a session of ``collector.registers.store``; the caller's transaction decides.
"""

from __future__ import annotations

from typing import Literal, get_args

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.registers.models import Asset
from policies.machines import normal_mac
from policies.model import Subject
from protocol.refusal import RefusedError

AssetKind = Literal["device", "medium", "pc", "printer", "server", "network", "other"]
"""``network``: switches, routers, access points; ``other``: whatever else has a MAC."""


def add_asset(
    session: Session,
    asset_id: str,
    kind: AssetKind,
    subject: Subject,
    *,
    created_by: str,
    now_us: int,
    section: str = "",
    note: str = "",
) -> Asset:
    """Register an asset. Raises RefusedError ``already_there``, or ``bad_value`` for a subject that names nothing."""
    if session.get(Asset, asset_id) is not None:
        raise RefusedError("already_there", f"asset {asset_id} is registered")
    if kind not in get_args(AssetKind):
        raise RefusedError("bad_value", f"asset kind {kind!r} is none of {', '.join(get_args(AssetKind))}")
    row = Asset(
        id=asset_id,
        kind=kind,
        subject=subject_map(subject),
        section=section,
        note=note,
        active=True,
        created_us=now_us,
        created_by=created_by,
    )
    session.add(row)
    session.flush()
    return row


def update_asset(
    session: Session,
    asset_id: str,
    *,
    subject: Subject | None = None,
    section: str | None = None,
    note: str | None = None,
    active: bool | None = None,
) -> Asset:
    """Change what is given; ``active=False`` takes it off the register. Raises RefusedError ``not_found``."""
    row = get_asset(session, asset_id)
    if subject is not None:
        row.subject = subject_map(subject)
    if section is not None:
        row.section = section
    if note is not None:
        row.note = note
    if active is not None:
        row.active = active
    session.flush()
    return row


def get_asset(session: Session, asset_id: str) -> Asset:
    """One asset. Raises RefusedError ``not_found``."""
    row = session.get(Asset, asset_id)
    if row is None:
        raise RefusedError("not_found", f"no asset {asset_id}")
    return row


def list_assets(
    session: Session, *, kind: str = "", section: str | None = None, active: bool | None = True
) -> list[Asset]:
    """Assets by id; ``section`` None = all sections, ``active`` None = also those taken off."""
    query = select(Asset).order_by(Asset.id)
    if kind:
        query = query.where(Asset.kind == kind)
    if section is not None:
        query = query.where(Asset.section == section)
    if active is not None:
        query = query.where(Asset.active == active)
    return list(session.scalars(query))


def owned_subjects(session: Session) -> tuple[Subject, ...]:
    """What a bundle carries as city-owned: the subjects of active devices and media."""
    query = select(Asset.subject).where(Asset.active, Asset.kind.in_(("device", "medium"))).order_by(Asset.id)
    return tuple(msgspec.convert(subject, Subject) for subject in session.scalars(query))


def subject_map(subject: Subject) -> dict[str, str | int]:
    """A subject as the register keeps it: only its filled fields. Raises RefusedError ``bad_value`` if there is none.

    An empty subject would match everything.
    """
    filled = {name: value for name, value in msgspec.structs.asdict(subject).items() if value}
    if "mac" in filled:
        try:
            filled["mac"] = normal_mac(filled["mac"])
        except ValueError as error:
            raise RefusedError("bad_value", str(error), "aa:bb:cc:dd:ee:ff") from error
    if not filled:
        raise RefusedError(
            "bad_value",
            "the subject names nothing",
            "give a device id, serial, MAC, package, hash or network",
        )
    return filled
