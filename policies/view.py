"""One PC's view of a policy release: what the agent and the detector ask."""

from __future__ import annotations

from msgspec.structs import replace

from policies.enrich import CompiledBundle
from policies.match import run
from policies.model import (
    Bundle,
    Destination,
    Enrichment,
    Hit,
    Permit,
    Rule,
    Setting,
    SoftwareAllow,
    Subject,
    Zone,
)
from protocol.events import Event

_DEFAULT = Setting()


class PolicyView:
    """A bundle as seen by one PC.

    Making one costs microseconds when ``compiled`` is shared, as the collector does for all its PCs.
    """

    __slots__ = ("_compiled", "_place", "agent_id", "digest", "generation", "tag", "zone")

    def __init__(
        self, bundle: Bundle, digest_hex: str, agent_id: str, *, compiled: CompiledBundle | None = None
    ) -> None:
        self._compiled = compiled or CompiledBundle(_for_pc(bundle), digest_hex)
        self._place = self._compiled.place(agent_id)
        self.agent_id = agent_id
        self.generation = bundle.generation
        self.digest = digest_hex
        self.tag = f"{bundle.generation}:{digest_hex[:12]}"
        """What goes into ``Event.policy``."""
        name = self._place.zone
        self.zone = self._compiled.zones.get(name) or Zone(name=name, title_ja=name, title_en=name)

    @classmethod
    def of(cls, compiled: CompiledBundle, agent_id: str) -> PolicyView:
        """The view of one of many PCs."""
        return cls(compiled.bundle, compiled.digest, agent_id, compiled=compiled)

    @property
    def bundle(self) -> Bundle:
        """The whole release."""
        return self._compiled.bundle

    @property
    def section(self) -> str:
        """Section the PC belongs to."""
        return self._place.section

    def setting(self, control: str) -> Setting:
        """How a control runs here: by zone, then ``*``, else it only observes and fails open."""
        by_zone = self._compiled.bundle.settings.get(control, {})
        return by_zone.get(self._place.zone) or by_zone.get("*") or _DEFAULT

    def relevant(self, kind: str) -> bool:
        """Tell whether any rule can fire on this kind."""
        return self._compiled.matcher.relevant(kind)

    def enrich(self, event: Event, now_us: int) -> Enrichment:
        """Look up everything about an event; permits are judged as of ``now_us`` (UTC µs)."""
        return self._compiled.known(event, self._place, now_us)[0]

    def match(self, event: Event, enrichment: Enrichment) -> list[Hit]:
        """Rules that fire, and those that failed (``Hit.error``)."""
        return self._compiled.matcher.match(event, enrichment)

    def detect(self, event: Event, now_us: int) -> list[Hit]:
        """As enrich and match, but an event that no rule can fire on costs next to nothing."""
        compiled = self._compiled
        if type(event) not in compiled.matcher.types_with_rules:
            return []
        enrichment, entries = compiled.known(event, self._place, now_us)
        return run(entries, event, enrichment) if entries else []

    def destinations(self, now_us: int) -> list[tuple[Destination, tuple[str, ...]]]:
        """Where this PC may connect now, each with the users it is for (empty = everybody)."""
        return self._compiled.destinations(self._place, now_us)

    def named_destinations(self, now_us: int) -> list[tuple[Subject, tuple[str, ...]]]:
        """What this PC may connect to by DNS name now, each with the users it is for (empty = everybody)."""
        return self._compiled.named_destinations(self._place, now_us)

    def covers_software(
        self, source: str, package: str, digest: str, now_us: int, user: str = ""
    ) -> Permit | SoftwareAllow | None:
        """What allows a program or package, or None. ``source`` empty = not known."""
        seen = Subject(source=source, package=package, digest=digest)
        state, by = self._compiled.software(seen, self._place.where(user), now_us)
        return by if state == "granted" else None

    def next_change_us(self, now_us: int) -> int | None:
        """When a permit next begins or ends (UTC µs), so that enforcers apply anew; None = never."""
        return self._compiled.next_change_us(now_us)

    def rule(self, id: str) -> Rule:
        """A rule by id. Raises KeyError."""
        return self._compiled.matcher.rules[id]


def _for_pc(bundle: Bundle) -> Bundle:
    """Without the rules that only feed correlations: those are the collector's."""
    return replace(bundle, rules=tuple(rule for rule in bundle.rules if not rule.silent))
