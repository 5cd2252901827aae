"""The rules of one installation: the shipped ones, and the city's own beside them, with the site file's lists put in.

``data/rules/**/*.yml`` holds Sigma rules as they are, the city's own or others'. A mistake in one is said with file and
line, and no release is made with it: what is in force stays. A rule about what is not collected is left out and told
(``Library.left_out``; ``sekisho-collector rules check``).
"""

from __future__ import annotations

from pathlib import Path

from collector.desk.law import installed_ordinances
from collector.desk.site_read import Complaint, SiteError
from policies.compile import Library, compile_library, rule_files
from policies.model import Rule
from policies.shipped import shipped_library
from policies.sigma_rule import Lists
from policies.source import SourceError

OWN = "rules"
"""Directory of a city's own rules, beside the site file."""


class RuleBook:
    """Compiles the rules anew when a file or a list changed."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._shipped: tuple[object, Library] | None = None
        self._all: tuple[object, Library] | None = None

    def library(self, lists: Lists | None = None) -> Library:
        """Every rule there is. Raises SiteError for the city's own, and OSError."""
        lists = dict(lists or {})
        own = self._data / OWN
        files = rule_files(own, below=True) if own.is_dir() else []
        stamp = [lists, *((str(path), (seen := path.stat()).st_mtime_ns, seen.st_size) for path in files)]
        if self._all is None or self._all[0] != stamp:
            self._all = stamp, self._compiled(files, lists)
        return self._all[1]

    def shipped(self, lists: Lists | None = None) -> tuple[Rule, ...]:
        """The rules of the package, as they were when they were read. Raises SiteError and OSError."""
        self.library(lists)
        return self._shipped[1].rules if self._shipped else ()

    def _compiled(self, files: list[Path], lists: Lists) -> Library:
        if self._shipped is None or self._shipped[0] != lists:
            self._shipped = lists, shipped_library(lists)
        if not files:
            return self._shipped[1]
        try:
            ordinances = installed_ordinances(self._data)
            return compile_library(files, ordinances, lists, known=self._shipped[1])
        except SourceError as error:
            name = Path(error.file)
            shown = str(name.relative_to(self._data)) if name.is_relative_to(self._data) else name.name
            raise SiteError([Complaint(shown, error.line, error.message, error.hint)]) from error
