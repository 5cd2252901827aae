"""Tables of the control database: state of correlation rules."""

from __future__ import annotations

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from collector.registers.models import Base


class CorrelationGroup(Base):
    """What the detector keeps of one group of one correlation; as of the journal row of its cursor."""

    __tablename__ = "correlation_groups"
    correlation: Mapped[str] = mapped_column(String(256), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of its definition, hex: rings may have two of one name."""
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    """Values of the group, a JSON list."""
    state: Mapped[bytes]
    """MessagePack of ``policies.correlation_state.State``."""
    stored_us: Mapped[int] = mapped_column(index=True)
