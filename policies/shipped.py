"""The ordinances and rules that come with the package.

pySigma is imported where rules are compiled: most commands want the ordinances only.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from policies.ordinance import Ordinance, load_ordinances

if TYPE_CHECKING:
    from policies.compile import Library
    from policies.model import Rule
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
    from policies.compile import compile_directory

    ordinances = dict(shipped_ordinances())
    return ordinances, compile_directory(shipped_directory("rules"), ordinances)


def shipped_library(lists: Lists | None = None) -> Library:
    """Rules and correlations that are shipped, with ``lists`` put in. Raises ``policies.source.SourceError``."""
    from policies.compile import compile_library, rule_files

    return compile_library(rule_files(shipped_directory("rules")), shipped_ordinances(), lists)
