"""Tables of the control database (SQLAlchemy; SQLite by default). Alembic migrations follow these.

Times are UTC µs. The database is the truth between the collector's processes: whoever writes a row pokes the process
concerned (``collector.bus``), and a process that starts reads what is due from here.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Base of all tables; named constraints so that Alembic can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[type, Any]] = {
        int: BigInteger().with_variant(Integer(), "sqlite"),
        bytes: LargeBinary,
    }


class Setting(Base):
    """Facts of this installation: ``city``, ``trust`` serial, ``ordinances`` …"""

    __tablename__ = "settings"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(Text)


class TrustDocument(Base):
    """Signed trust roots, newest serial in force."""

    __tablename__ = "trust"
    serial: Mapped[int] = mapped_column(primary_key=True)
    document: Mapped[bytes]
    """MessagePack of ``protocol.signed.Signed``."""
    created_us: Mapped[int]


class Agent(Base):
    """A PC that asked to join. ``status``: pending | active | quarantined | revoked."""

    __tablename__ = "agents"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Fingerprint of the CURVE key."""
    curve_key: Mapped[bytes]
    sign_key: Mapped[bytes]
    status: Mapped[str] = mapped_column(String(16), index=True)
    status_reason: Mapped[str] = mapped_column(Text, default="")
    hostname: Mapped[str] = mapped_column(String(256), default="")
    machine_id: Mapped[str] = mapped_column(String(256), default="")
    os: Mapped[str] = mapped_column(String(256), default="")
    agent_version: Mapped[str] = mapped_column(String(64), default="")
    zone: Mapped[str] = mapped_column(String(64), default="")
    section: Mapped[str] = mapped_column(String(256), default="")
    enrolled_us: Mapped[int]
    token_id: Mapped[str] = mapped_column(String(32), default="")
    last_seen_us: Mapped[int] = mapped_column(default=0)
    skew_us: Mapped[int] = mapped_column(default=0)
    """PC clock minus collector clock at the last heartbeat."""
    policy_generation: Mapped[int] = mapped_column(default=0)
    policy_digest: Mapped[str] = mapped_column(String(64), default="")
    spool_depth: Mapped[int] = mapped_column(default=0)
    spooled: Mapped[int] = mapped_column(default=0)
    stored: Mapped[int] = mapped_column(default=0)
    """Highest sequence number durable in the journal."""
    dropped: Mapped[int] = mapped_column(default=0)
    health: Mapped[list[str]] = mapped_column(JSON, default=list)
    controls: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    sensors: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    """Sensor → running | standby | why it does not run, as of the last heartbeat."""
    states_since: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    """``controls.media``, ``sensors.media`` … → since when it is as it is."""
    segments: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Segments it could watch."""
    ring: Mapped[str] = mapped_column(String(32), default="")
    """Ring of PCs that gets a release early; empty = with all."""
    isolation: Mapped[str] = mapped_column(String(16), default="free")
    """Measured by the PC: free | isolated."""
    isolation_order: Mapped[str] = mapped_column(String(64), default="")


class Token(Base):
    """An enrolment token: limited number, expiry, target section and zone. Only the hash of the secret is kept."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    secret_hash: Mapped[bytes]
    """SHA-256 of the 16-byte secret."""
    zone: Mapped[str] = mapped_column(String(64))
    section: Mapped[str] = mapped_column(String(256), default="")
    uses: Mapped[int]
    uses_left: Mapped[int]
    expires_us: Mapped[int]
    created_us: Mapped[int]
    created_by: Mapped[str] = mapped_column(String(256))
    revoked: Mapped[bool] = mapped_column(default=False)


class Person(Base):
    """Somebody of the city: who uses PCs, applies for and approves permits. ``roles`` as the ordinance names them."""

    __tablename__ = "people"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Login name."""
    name: Mapped[str] = mapped_column(String(256))
    section: Mapped[str] = mapped_column(String(256), default="")
    roles: Mapped[list[str]] = mapped_column(JSON, default=list)
    active: Mapped[bool] = mapped_column(default=True)


class Operator(Base):
    """An account of the API. ``role``: it_staff | network_admin | section_head | ciso | auditor."""

    __tablename__ = "operators"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[str | None] = mapped_column(ForeignKey("people.id"))
    role: Mapped[str] = mapped_column(String(32))
    section: Mapped[str] = mapped_column(String(256), default="")
    """section_head sees only this."""
    password_hash: Mapped[str] = mapped_column(Text)
    """argon2id."""
    active: Mapped[bool] = mapped_column(default=True)
    failures: Mapped[int] = mapped_column(default=0)
    locked_until_us: Mapped[int] = mapped_column(default=0)
    created_us: Mapped[int]


class Session(Base):
    """A signed-in operator. Only the hash of the bearer token is kept."""

    __tablename__ = "sessions"
    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    operator: Mapped[str] = mapped_column(ForeignKey("operators.name"))
    created_us: Mapped[int]
    expires_us: Mapped[int]


class Asset(Base):
    """A device, medium or PC the city owns. ``subject`` is a ``policies.model.Subject`` as a map."""

    __tablename__ = "assets"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    subject: Mapped[dict[str, Any]] = mapped_column(JSON)
    section: Mapped[str] = mapped_column(String(256), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    active: Mapped[bool] = mapped_column(default=True)
    created_us: Mapped[int]
    created_by: Mapped[str] = mapped_column(String(64))


class PermitRow(Base):
    """A permit with its paper trail. ``subject`` and ``scope`` are those of ``policies.model``."""

    __tablename__ = "permits"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    subject: Mapped[dict[str, Any]] = mapped_column(JSON)
    scope: Mapped[dict[str, Any]] = mapped_column(JSON)
    applicant: Mapped[str] = mapped_column(String(64))
    approver: Mapped[str] = mapped_column(String(64))
    approver_role: Mapped[str] = mapped_column(String(64))
    ordinance: Mapped[str] = mapped_column(String(64))
    article: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text)
    read_only: Mapped[bool] = mapped_column(default=False)
    no_confidential: Mapped[bool] = mapped_column(default=False)
    conditions: Mapped[list[str]] = mapped_column(JSON, default=list)
    """Further conditions in words."""
    basis: Mapped[str] = mapped_column(String(16), default="")
    """On what a take-out stands: law | blanket | section_head."""
    contract: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """``policies.granting.Contract`` of a contractor, as a map."""
    renews: Mapped[str] = mapped_column(String(64), default="", index=True)
    """Permit that this one follows."""
    from_us: Mapped[int]
    until_us: Mapped[int]
    granted_us: Mapped[int]
    granted_by: Mapped[str] = mapped_column(String(64))
    """Operator account that entered it."""
    revoked_us: Mapped[int] = mapped_column(default=0)
    revoked_by: Mapped[str] = mapped_column(String(64), default="")
    revoke_reason: Mapped[str] = mapped_column(Text, default="")


class Alert(Base):
    """A flagged violation, or a counted summary of more of the same (rule, PC, person) beyond the budget."""

    __tablename__ = "alerts"
    __table_args__ = (
        Index("ix_alerts_key", "rule_id", "agent_id", "person"),
        UniqueConstraint("agent_id", "seq", "rule_id"),
    )
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    rule_id: Mapped[str] = mapped_column(String(128))
    rule_version: Mapped[str] = mapped_column(String(64), default="")
    agent_id: Mapped[str] = mapped_column(String(64), index=True)
    person: Mapped[str] = mapped_column(String(256), default="")
    level: Mapped[str] = mapped_column(String(16))
    title_ja: Mapped[str] = mapped_column(Text)
    title_en: Mapped[str] = mapped_column(Text)
    citations: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    """``[{"ordinance", "article", "edition"}]``: the articles broken."""
    action: Mapped[str] = mapped_column(String(16))
    kind: Mapped[str] = mapped_column(String(64))
    seq: Mapped[int | None]
    """Sequence number of the event; None for the collector's own findings (gap, fork, clone)."""
    found_by: Mapped[str] = mapped_column(String(16), default="collector")
    """Who saw it: both | pc (the collector's rules did not fire) | collector (the PC's did not)."""
    event: Mapped[dict[str, Any]] = mapped_column(JSON)
    """The event, personal data masked at display by role."""
    event_us: Mapped[int]
    stored_us: Mapped[int] = mapped_column(index=True)
    summary: Mapped[bool] = mapped_column(default=False)
    count: Mapped[int] = mapped_column(default=1)
    last_us: Mapped[int]
    acknowledged_by: Mapped[str] = mapped_column(String(64), default="")
    acknowledged_us: Mapped[int] = mapped_column(default=0)


class Release(Base):
    """A policy release. ``status``: draft | released | withdrawn. At most one draft."""

    __tablename__ = "releases"
    generation: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(String(16), index=True)
    document: Mapped[bytes]
    """MessagePack of ``Signed``; for a draft without signatures."""
    digest: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(Text, default="")
    created_us: Mapped[int]
    created_by: Mapped[str] = mapped_column(String(64))
    released_us: Mapped[int] = mapped_column(default=0)
    ring: Mapped[str] = mapped_column(String(32), default="")
    """Ring of PCs it was released to; empty = to all."""
    promoted_us: Mapped[int] = mapped_column(default=0)
    """When a release to a ring went to all."""
    rollback_of: Mapped[int] = mapped_column(default=0)
    """Generation whose content this one brings back; 0 = made of the sources."""
    study_id: Mapped[int] = mapped_column(default=0)
    """Back-test it was released on; 0 = none."""
    untested: Mapped[str] = mapped_column(Text, default="")
    """Why it was released without one."""


class OrderRow(Base):
    """An order and what is known of it. ``state``: desired → sent → applied → verified, or failed | refused | unreachable."""

    __tablename__ = "orders"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    agent_id: Mapped[str] = mapped_column(ForeignKey("agents.id"), index=True)
    issuer: Mapped[str] = mapped_column(String(256))
    ordinance: Mapped[str] = mapped_column(String(64))
    article: Mapped[str] = mapped_column(String(64))
    incident: Mapped[str] = mapped_column(String(64), default="")
    reason: Mapped[str] = mapped_column(Text)
    document: Mapped[bytes]
    state: Mapped[str] = mapped_column(String(16), index=True)
    issued_us: Mapped[int]
    received_us: Mapped[int]
    posted_by: Mapped[str] = mapped_column(String(64))
    sent_us: Mapped[int] = mapped_column(default=0)
    result_us: Mapped[int] = mapped_column(default=0)
    result: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """``protocol.messages.OrderResult`` as a map."""


class Finding(Base):
    """What the gateway noticed by itself: gap, fork, rewind, clone, refusals. Alerts are made of them."""

    __tablename__ = "findings"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    agent_id: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str] = mapped_column(String(64))
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
    time_us: Mapped[int]
    alerted: Mapped[bool] = mapped_column(default=False)
