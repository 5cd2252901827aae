"""Files of Sigma rules to a library of compiled rules and correlations.

One rule is :mod:`policies.sigma_rule`'s, one correlation :mod:`policies.sigma_correlation`'s affair. Here they are put
together: references are resolved, ids are unique, and what cannot be loaded is told apart from what is wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from policies.model import Correlation, Rule
from policies.ordinance import Ordinance
from policies.sigma_correlation import UnknownRuleError, compile_correlation, is_correlation
from policies.sigma_rule import Lists, Made, NotLoadedError, RuleError, compile_rule
from policies.source import Source

__all__ = [
    "TESTS_SUFFIX",
    "LeftOut",
    "Library",
    "NotLoadedError",
    "RuleError",
    "compile_directory",
    "compile_file",
    "compile_library",
    "compile_text",
    "rule_files",
]

RULE_FILES = "*.yml"
TESTS_SUFFIX = ".tests.yml"


class LeftOut(Struct, frozen=True):
    """A rule that was not loaded. ``why``: ``not_collected`` (nothing wrong with it) or ``refused``."""

    file: str
    line: int
    why: str
    detail: str
    hint: str = ""


class Limited(Struct, frozen=True):
    """A rule that was loaded and has to do without some fields: ``field: why``."""

    rule: str
    file: str
    limits: tuple[str, ...]


class Library(Struct, frozen=True):
    """Compiled rules and correlations, and what is to be said of the others."""

    rules: tuple[Rule, ...] = ()
    correlations: tuple[Correlation, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    limited: tuple[Limited, ...] = ()
    files: dict[str, str] = {}
    """Id → file."""
    uses_lists: bool = False
    """Whether any rule has ``|expand``."""


def compile_text(
    text: str, file: str, ordinances: Mapping[str, Ordinance], lists: Lists | None = None
) -> Rule:
    """Compile one rule. Raises RuleError."""
    source = Source(text, file, RuleError)
    if is_correlation(source):
        raise source.fail(
            ("correlation",), "a correlation rule needs the rules it is about", "compile_library"
        )
    return compile_rule(source, ordinances, lists or {}).rule


def compile_file(path: Path, ordinances: Mapping[str, Ordinance], lists: Lists | None = None) -> Rule:
    """Compile a file with one rule. Raises RuleError and OSError."""
    return compile_rule(Source.read(path, RuleError), ordinances, lists or {}).rule


def rule_files(directory: Path, *, below: bool = False) -> list[Path]:
    """The rule files of a directory (and of those below it), in order of name, without their test files."""
    found = directory.rglob(RULE_FILES) if below else directory.glob(RULE_FILES)
    return sorted(path for path in found if not path.name.endswith(TESTS_SUFFIX) and path.is_file())


def compile_directory(directory: Path, ordinances: Mapping[str, Ordinance]) -> tuple[Rule, ...]:
    """The rules of :func:`compile_library`. Raises RuleError at the first that is wrong."""
    return compile_library(rule_files(directory), ordinances).rules


def compile_library(
    files: Iterable[Path],
    ordinances: Mapping[str, Ordinance],
    lists: Lists | None = None,
    *,
    known: Library | None = None,
    go_on: bool = False,
) -> Library:
    """Compile files together with those already ``known`` (which they may refer to).

    Rules about what is not collected are left out, and said so. Raises RuleError at the first rule that is wrong, for
    two with one id, and OSError; with ``go_on`` such rules are left out too.
    """
    shelf = _Shelf(ordinances, lists or {}, known or Library(), go_on=go_on)
    sources = [source for path in files for source in shelf.read(path)]
    later = []
    for source in sources:
        if is_correlation(source):
            later.append(source)
        else:
            shelf.rule(source)
    # A correlation may refer to one that stands behind it: those that wait for another come again.
    while later:
        waiting = [source for source in later if not shelf.correlation(source, last=False)]
        if len(waiting) == len(later):
            names = {str(source.data.get(key)) for source in waiting for key in ("name", "id")}
            for source in waiting:
                shelf.correlation(source, last=True, waiting=names)
            break
        later = waiting
    return shelf.library()


class _Shelf:
    """A library in the making."""

    def __init__(
        self, ordinances: Mapping[str, Ordinance], lists: Lists, known: Library, *, go_on: bool
    ) -> None:
        self._ordinances, self._lists, self._known, self._go_on = ordinances, lists, known, go_on
        self._made: dict[str, Made | Correlation] = {}
        """Name and UUID → what was compiled."""
        self._rules: dict[str, Rule] = {rule.id: rule for rule in known.rules}
        self._correlations: dict[str, Correlation] = {one.id: one for one in known.correlations}
        self._left_out = list(known.left_out)
        self._limited = list(known.limited)
        self._files = dict(known.files)
        self._uses_lists = known.uses_lists
        self._told: dict[str, bool] = {}
        """Rule → whether some correlation that refers to it lets it make alerts of its own."""

    def read(self, path: Path) -> list[Source]:
        try:
            return Source.read_all(path, RuleError)
        except RuleError as error:
            self._refused(error)
            return []

    def rule(self, source: Source) -> None:
        try:
            made = compile_rule(source, self._ordinances, self._lists)
            self._keep(source, made, made.rule.id, made.uuid)
        except RuleError as error:
            self._refused(error)
            return
        self._rules[made.rule.id] = made.rule
        self._uses_lists |= "|expand" in str(source.data)
        if made.limits:
            limits = tuple(f"{field}: {why}" for field, why in made.limits.items())
            self._limited.append(Limited(made.rule.id, source.file, limits))

    def correlation(self, source: Source, *, last: bool, waiting: Collection[str] = ()) -> bool:
        """Compile one; False: it refers to what is not there (yet)."""
        targets = {**self._rules, **self._correlations, **self._made}
        try:
            made, uuid, tells = compile_correlation(source, self._ordinances, targets, waiting)
            self._keep(source, made, made.id, uuid)
        except RuleError as error:
            if not last and isinstance(error, UnknownRuleError):
                return False
            self._refused(error)
            return True
        self._correlations[made.id] = made
        for one in made.rules:
            self._told[one] = self._told.get(one, False) or tells
        return True

    def library(self) -> Library:
        rules, correlations = (
            tuple(
                replace(one, silent=True) if one.id in self._told and not self._told[one.id] else one
                for one in kept.values()
            )
            for kept in (self._rules, self._correlations)
        )
        return Library(
            rules,  # type: ignore[arg-type]  # the generator loses which is which
            correlations,  # type: ignore[arg-type]
            tuple(self._left_out),
            tuple(self._limited),
            self._files,
            self._uses_lists,
        )

    def _keep(self, source: Source, made: Made | Correlation, *keys: str) -> None:
        for key in keys:
            other = self._files.get(key.lower())
            if other is not None:
                name = Path(other).name
                raise source.fail(
                    ("id",), f"two rules with one id: {key} is also in {name}", "make a new one"
                )
        for key in keys:
            self._files[key.lower()] = source.file
            self._made[key] = made

    def _refused(self, error: RuleError) -> None:
        collected = not isinstance(error, NotLoadedError)
        if collected and not self._go_on:
            raise error
        why = "refused" if collected else "not_collected"
        self._left_out.append(LeftOut(error.file, error.line, why, error.message, error.hint))
