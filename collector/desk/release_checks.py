"""What is wrong with a draft before anybody signs it: rules and their tests, and a policy that works against itself.

An ``error`` keeps the draft from being released; a ``warning`` is for a person to weigh.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Literal

import yaml
from msgspec import Struct

from collector.desk.site import Site
from collector.desk.site_parts import EVERY_ZONE
from collector.desk.site_read import SiteError, line_of
from policies.compile import compile_directory, rule_files
from policies.model import Bundle, Rule
from policies.ordinance import load_ordinances
from policies.shipped import shipped_directory
from policies.source import SourceError
from policies.testing import Report, check_rules
from protocol.text import Text

SITE_FILE = "policy.yaml"
SHORT_TERM_DAYS = 30


class Remark(Struct, frozen=True):
    """One thing found; ``where`` is ``file:line`` or the thing's name."""

    severity: Literal["error", "warning"]
    where: str
    name: str
    ja: str
    en: str


class CheckReport(Struct, frozen=True, kw_only=True):
    """How many rules, tests and branches were run, and what was found."""

    rules: int
    tests: int
    branches: int
    remarks: tuple[Remark, ...]

    @property
    def ok(self) -> bool:
        """No error."""
        return all(remark.severity != "error" for remark in self.remarks)


NO_DESTINATION = Text(
    "区域 {zone} は通信を止めますが、つないでよい先がありません。収集サーバーのほかは、すべて止まります",
    "zone {zone} stops connections but allows no destination: everything but the collector is cut",
)
NO_SOFTWARE = Text(
    "実行を止める区域がありますが、許すソフトウェアが登録されていません",
    "programs are stopped, but no software is allowed",
)
NO_BLOCK_RULE = Text(
    "統制 {control} は止める設定ですが、止める規則がひとつもありません",
    "control {control} is set to enforce, but no rule blocks for it",
)
CONTROL_OFF = Text(
    "統制 {control} が切れているため、規則 {rules} は何も見ません",
    "control {control} is off, so these rules see nothing: {rules}",
)
UNKNOWN_ZONE = Text(
    "{count} 台の端末が、方針にない区域 {zone} に属しています",
    "{count} PCs belong to zone {zone}, which the policy does not define",
)
PERMIT_NOWHERE = Text(
    "許可 {permit} は、方針にない区域 {zones} だけで有効です",
    "permit {permit} holds only in zones the policy does not define: {zones}",
)
PERMIT_FOR_NOBODY = Text(
    "許可 {permit} は、どの端末も属さない課 {sections} だけで有効です",
    "permit {permit} holds only in sections no PC belongs to: {sections}",
)
SHORT_TERM = Text(
    "署名した方針は {days} 日で切れます。切れる前に出し直してください",
    "a signed release ends after {days} days; release again before",
)
OTHER_RULES = Text(
    "規則のファイルが、収集サーバーを起動したあとに変わりました。起動し直してください",
    "the rule files changed after the collector was started; start it again",
)


def check(bundle: Bundle, site: Site, site_text: str, loaded: tuple[Rule, ...]) -> CheckReport:
    """Check a draft made of ``site`` (whose file reads ``site_text``) and the package's rules as ``loaded`` at the start."""
    files = _fingerprint()
    tested = _rules_tested(files)
    remarks = [
        *_of_rules(tested, same=_compiled(files) == loaded),
        *_of_bundle(bundle),
        *_of_site(bundle, site, site_text),
    ]
    return CheckReport(
        rules=tested.rules, tests=tested.tests, branches=tested.branches, remarks=tuple(remarks)
    )


def site_refused(error: SiteError) -> CheckReport:
    """The report when the site file itself cannot be used."""
    remarks = tuple(
        Remark(
            "error",
            f"{one.file}:{one.line}",
            "bad_site_file",
            _hinted(one.what, one.hint),
            _hinted(one.what, one.hint),
        )
        for one in error.complaints
    )
    return CheckReport(rules=0, tests=0, branches=0, remarks=remarks)


def _hinted(what: str, hint: str) -> str:
    return f"{what} ({hint})" if hint else what


# -- rules -----------------------------------------------------------------------------------------------------------


def _fingerprint() -> tuple[tuple[str, int, int], ...]:
    paths = sorted([*shipped_directory("rules").iterdir(), *shipped_directory("ordinances").iterdir()])
    return tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in paths)


@lru_cache(maxsize=2)
def _rules_tested(_files: tuple[tuple[str, int, int], ...]) -> Report:
    """The rule tests, once for each state of the files."""
    return check_rules(shipped_directory("rules"))


@lru_cache(maxsize=2)
def _compiled(_files: tuple[tuple[str, int, int], ...]) -> tuple[Rule, ...] | None:
    try:
        return compile_directory(shipped_directory("rules"), load_ordinances(shipped_directory("ordinances")))
    except SourceError:
        return None


def _of_rules(tested: Report, *, same: bool) -> Iterator[Remark]:
    names = {path.stem: path for path in rule_files(shipped_directory("rules"))}
    for one in tested.failures:
        where, _, what = one.detail.partition(": ") if one.name == "refused" else ("", "", one.detail)
        path = Path(where).name if where else _beside(one.rule, names)
        yield Remark("error", path, one.name, what, what)
    if tested.ok and not same:
        yield _remark("error", "rules", "rules_changed", OTHER_RULES)


def _beside(rule: str, names: dict[str, Path]) -> str:
    return f"{names[rule].stem}.tests.yml:1" if rule in names else rule


# -- the policy ------------------------------------------------------------------------------------------------------


def _remark(
    severity: Literal["error", "warning"], where: str, name: str, text: Text, **values: object
) -> Remark:
    return Remark(severity, where, name, text.say("ja", **values), text.say("en", **values))


def _of_bundle(bundle: Bundle) -> Iterator[Remark]:
    """Registers that do not fit the policy."""
    zones = {zone.name for zone in bundle.zones} | {bundle.unassigned.zone}
    sections = {place.section for place in bundle.assignments.values()}
    lost = Counter(place.zone for place in bundle.assignments.values() if place.zone not in zones)
    for zone, count in sorted(lost.items()):
        yield _remark("warning", "hosts", "unknown_zone", UNKNOWN_ZONE, count=count, zone=zone)
    for permit in bundle.permits:
        scope = permit.scope
        if scope.zones and zones.isdisjoint(scope.zones):
            values = {"permit": permit.id, "zones": ", ".join(scope.zones)}
            yield _remark("warning", permit.id, "permit_without_zone", PERMIT_NOWHERE, **values)
        if scope.sections and bundle.assignments and sections.isdisjoint(scope.sections):
            values = {"permit": permit.id, "sections": ", ".join(scope.sections)}
            yield _remark("warning", permit.id, "permit_without_section", PERMIT_FOR_NOBODY, **values)


def _of_site(bundle: Bundle, site: Site, site_text: str) -> Iterator[Remark]:
    """Settings that do something else than whoever wrote them can have meant; with their line in the site file."""
    root = yaml.compose(site_text, Loader=yaml.SafeLoader)

    def at(place: str) -> str:
        return f"{SITE_FILE}:{line_of(root, place)}" if root is not None else SITE_FILE

    blocking = {rule.control for rule in bundle.rules if rule.effect == "block"}
    allowing = {zone.name: zone.allow for zone in bundle.zones}
    for index, setting in enumerate(site.settings):
        where = at(f"$.settings[{index}]")
        rules = [rule.id for rule in bundle.rules if rule.control == setting.control]
        if setting.mode == "off" and setting.zone == EVERY_ZONE and rules:
            shown = ", ".join(rules)
            yield _remark("warning", where, "control_off", CONTROL_OFF, control=setting.control, rules=shown)
        if setting.mode != "enforce":
            continue
        if setting.control not in blocking:
            yield _remark("warning", where, "no_block_rule", NO_BLOCK_RULE, control=setting.control)
        cut = [zone for zone, allow in allowing.items() if not allow and setting.zone in {zone, EVERY_ZONE}]
        if setting.control == "connections":
            for zone in cut:
                yield _remark("warning", where, "no_destination", NO_DESTINATION, zone=zone)
        if setting.control == "execution" and len(bundle.software) <= 1:
            yield _remark("warning", where, "no_software", NO_SOFTWARE)
    if site.valid_days < SHORT_TERM_DAYS:
        yield _remark("warning", at("$.valid_days"), "short_term", SHORT_TERM, days=site.valid_days)
