"""What is done for one article on one PC: a pure decision over what the PC reports and what the release says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, get_args

from msgspec import Struct

from policies.model import Control, Rule
from policies.ordinance import Article

State = Literal["enforced", "observed", "recorded", "support", "organisation", "not_supported"]
STATES: tuple[State, ...] = get_args(State)
"""Strongest first. ``not_supported`` always comes with a reason."""
Why = Literal["", "no_rule", "switched_off", "not_running", "no_policy", "not_built"]
"""No rule of the release cites the article; the policy switched the control off; the PC cannot, or its sensor failed;
the PC runs no release yet; the collector lacks the function."""

SENSORS_OF: Mapping[Control, tuple[str, ...]] = {
    "devices": ("devices",),
    "media": ("media",),
    "software": ("software",),
    "execution": ("execution",),
    "connections": ("connections", "names"),
    "neighbours": ("neighbours",),
    "links": ("links",),
    "files": ("files", "media_writes"),
    "logons": ("logons",),
    "posture": ("posture", "services"),
}
"""Control → the sensors it sees by. The agent's own list is the truth; a test holds this against it."""
WORKING = frozenset({"running", "standby"})
_PARTS = ("enforce", "observe", "record")


class Pc(Struct, frozen=True, kw_only=True):
    """A PC as it last reported. Times are UTC µs; ``since`` names states of ``controls`` and ``sensors``."""

    id: str
    hostname: str = ""
    zone: str = ""
    section: str = ""
    online: bool = True
    last_seen_us: int = 0
    enrolled_us: int = 0
    generation: int = 0
    controls: Mapping[str, str] = {}
    """control → enforce | observe | off | unsupported."""
    sensors: Mapping[str, str] = {}
    since: Mapping[str, int] = {}
    """``controls.media`` or ``sensors.media`` → since when it is as it is."""


class Served(Struct, frozen=True):
    """How an article is served on one PC. ``since_us``: since when that is so, 0 = not known."""

    state: State
    why: Why = ""
    detail: str = ""
    since_us: int = 0


def centre(article: Article) -> Served | None:
    """How the collector itself serves an article; None when the PCs do."""
    if set(article.levels) == {"organisation"}:
        return Served("organisation")
    judged = set(article.levels) & set(_PARTS)
    if article.controls and judged:
        return None
    missing = [name for name in article.centre if name not in BUILT]
    if missing or not article.centre:
        return Served("not_supported", "not_built", ", ".join(missing))
    strongest = next((part for part in _PARTS if part in judged), "support")
    return Served(_STATE_OF[strongest], detail=", ".join(article.centre))


_STATE_OF: Mapping[str, State] = {
    "enforce": "enforced",
    "observe": "observed",
    "record": "recorded",
    "support": "support",
}

BUILT = frozenset(
    {
        "roles", "audit_log", "permits", "registers", "evidence_journal", "releases", "orders", "self_inspection", "inspections",
        "reviews", "indicators", "search_with_reason", "contractors", "notices", "detection", "transfer_log",
    }
)  # fmt: skip
"""Functions of the collector that exist; an article that needs another one is ``not_built``."""


def on_pc(article: Article, citing: Iterable[Rule], pc: Pc) -> Served:
    """How an article with controls is served on a PC. ``citing``: rules of the release that cite it.

    The weakest of the article's controls that have a rule decides: an article is not enforced while one half of it is
    only watched. A control without a rule weakens nothing unless no control has one.
    """
    if not pc.generation:
        return Served("not_supported", "no_policy", since_us=pc.enrolled_us)
    rules = list(citing)
    found = [
        _control(article, control, [rule for rule in rules if rule.control == control], pc)
        for control in article.controls
    ]
    with_rules = [one for one in found if one.why != "no_rule"]
    return max(with_rules or found, key=lambda one: STATES.index(one.state))


def _control(article: Article, control: Control, rules: list[Rule], pc: Pc) -> Served:
    judged = {"enforce", "observe"} & set(article.levels)
    if judged and not rules and "record" not in article.levels:
        return Served("not_supported", "no_rule", control)
    mode = pc.controls.get(control, "unsupported")
    since = pc.since.get(f"controls.{control}", 0)
    if mode == "off":
        return Served("not_supported", "switched_off", control, since)
    if broken := _broken(control, pc):
        return Served("not_supported", "not_running", *broken)
    if mode == "unsupported":
        return Served("not_supported", "not_running", control, since)
    if not judged or not rules:
        return Served("recorded", detail=control, since_us=since)
    blocks = mode == "enforce" and any(rule.effect == "block" for rule in rules)
    return Served("enforced" if blocks and "enforce" in article.levels else "observed", "", control, since)


def _broken(control: Control, pc: Pc) -> tuple[str, int] | None:
    """The first sensor of a control that does not work, and since when; what a PC never reported is not held against it."""
    for name in SENSORS_OF[control]:
        state = pc.sensors.get(name)
        if state is not None and state not in WORKING:
            return f"{name}: {state}", pc.since.get(f"sensors.{name}", 0)
    return None
