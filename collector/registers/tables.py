"""All tables of the control database: importing this makes ``Base.metadata`` whole."""

from collector.registers import (
    models_audit,
    models_correlations,
    models_inspections,
    models_neighbours,
    models_permits,
    models_releases,
)
from collector.registers.models import Base

__all__ = [
    "Base",
    "models_audit",
    "models_correlations",
    "models_inspections",
    "models_neighbours",
    "models_permits",
    "models_releases",
]
