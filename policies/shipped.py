"""The ordinances and rules that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from policies.compile import compile_directory
from policies.model import Rule
from policies.ordinance import Ordinance, load_ordinances


def shipped_directory(name: str) -> Path:
    """Directory ``rules`` or ``ordinances`` of the installed package."""
    return Path(str(files("policies") / name))


def load_shipped() -> tuple[dict[str, Ordinance], tuple[Rule, ...]]:
    """Read and compile what is shipped. Raises ``policies.source.SourceError``."""
    ordinances = load_ordinances(shipped_directory("ordinances"))
    return ordinances, compile_directory(shipped_directory("rules"), ordinances)
