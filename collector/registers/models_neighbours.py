"""Tables of the control database: MACs of the city's PCs, machines seen on segments, and where PCs are plugged in."""

from __future__ import annotations

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from collector.registers.models import Base


class OwnMac(Base):
    """A MAC that an enrolled PC reports as its own."""

    __tablename__ = "own_macs"
    agent_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    mac: Mapped[str] = mapped_column(String(17), primary_key=True)
    interface: Mapped[str] = mapped_column(String(256), default="")
    segment: Mapped[str] = mapped_column(String(256), default="")
    hostname: Mapped[str] = mapped_column(String(256), default="")
    addresses: Mapped[list[str]] = mapped_column(JSON, default=list)
    first_us: Mapped[int]
    last_us: Mapped[int]


class Neighbour(Base):
    """A machine on a segment, as the segment's watcher (``agent_id``) last told of it."""

    __tablename__ = "neighbours"
    __table_args__ = (Index("ix_neighbours_last_us", "last_us"),)
    segment: Mapped[str] = mapped_column(String(256), primary_key=True)
    mac: Mapped[str] = mapped_column(String(17), primary_key=True)
    agent_id: Mapped[str] = mapped_column(String(64))
    ip: Mapped[str] = mapped_column(String(256), default="")
    addresses: Mapped[list[str]] = mapped_column(JSON, default=list)
    hostname: Mapped[str] = mapped_column(String(256), default="")
    fingerprint: Mapped[str] = mapped_column(String(256), default="")
    randomised: Mapped[bool] = mapped_column(default=False)
    via: Mapped[str] = mapped_column(String(16), default="")
    why: Mapped[str] = mapped_column(String(16), default="")
    first_us: Mapped[int]
    last_us: Mapped[int]
    copied_us: Mapped[int] = mapped_column(default=0)
    """When it last showed itself as two machines; 0 = never."""


class SwitchPort(Base):
    """Where an interface of a PC is plugged in, as the switch says (LLDP, CDP)."""

    __tablename__ = "switch_ports"
    agent_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    interface: Mapped[str] = mapped_column(String(256), primary_key=True)
    segment: Mapped[str] = mapped_column(String(256), default="")
    switch: Mapped[str] = mapped_column(String(256))
    port: Mapped[str] = mapped_column(String(256))
    ip: Mapped[str] = mapped_column(String(256), default="")
    """Management address of the switch."""
    via: Mapped[str] = mapped_column(String(16), default="")
    seen_us: Mapped[int]
