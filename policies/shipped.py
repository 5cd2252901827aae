"""The ordinances and rules that come with the package."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from policies.compile import Library, compile_directory, compile_library, rule_files
from policies.model import Rule
from policies.ordinance import Ordinance, load_ordinances
from policies.sigma_rule import Lists


def shipped_directory(name: str) -> Path:
    """Directory ``rules`` or ``ordinances`` of the installed package."""
    return Path(str(files("policies") / name))


@cache
def shipped_ordinances() -> MappingProxyType[str, Ordinance]:
    """The shipped ordinances by id, read once. Raises ``policies.source.SourceError``."""
    return MappingProxyType(load_ordinances(shipped_directory("ordinances")))


def load_shipped() -> tuple[dict[str, Ordinance], tuple[Rule, ...]]:
    """Read and compile what is shipped. Raises ``policies.source.SourceError``."""
    ordinances = dict(shipped_ordinances())
    return ordinances, compile_directory(shipped_directory("rules"), ordinances)


def shipped_library(lists: Lists | None = None) -> Library:
    """Rules and correlations that are shipped, with ``lists`` put in. Raises ``policies.source.SourceError``."""
    return compile_library(rule_files(shipped_directory("rules")), shipped_ordinances(), lists)
