"""The released policy against decoded batches: what the PCs' own rules say, and what the collector's say.

Both are kept. A PC may be behind with its policy, or lie; the collector never takes a PC's word for a permit: it looks
the permit up itself, as of the event's time, which cannot be later than the receipt.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy.orm import Session

from collector.desk.trust import trust_in_force
from collector.detection.batch import Batch
from collector.detection.correlate import told
from collector.detection.recall import Recall, Shelf
from collector.registers.models import Release
from collector.search.events import PERSON_FIELDS, person_of
from collector.search.index import clamped
from policies.bundle import open_bundle
from policies.correlation import Correlated, Correlator
from policies.enrich import CompiledBundle, Place
from policies.facts.base import Centre
from policies.match import run
from policies.model import Any, Bundle, Citation, Enrichment, Hit, Rule
from protocol.events import AnyEvent, Event, kind_of
from protocol.refusal import UNREADABLE, RefusedError
from protocol.signed import Signed

FoundBy = Literal["both", "pc", "collector"]
RULE_ERROR = "rule_error:"
"""Prefix of the alert of a rule that could not be evaluated; the rule's id follows."""


class Flag(Struct, frozen=True, kw_only=True):
    """One hit on its way to an alert. ``seq`` None: the collector's own finding."""

    rule_id: str
    rule_version: str = ""
    level: str
    title_ja: str
    title_en: str
    citations: tuple[Citation, ...] = ()
    agent_id: str
    person: str = ""
    action: str
    kind: str
    seq: int | None
    found_by: FoundBy = "collector"
    event: AnyEvent | dict[str, object]
    event_us: int
    note: str = ""
    """Why a rule could not be evaluated."""


Fed = tuple[int, Event, Enrichment, list[str]]
"""Sequence number, event, what is known about it, and the rules that fired which correlations count."""


class Policy:
    """The release in force, compiled; without one no rule fires here."""

    def __init__(self, compiled: CompiledBundle) -> None:
        self.compiled = compiled
        self.correlator = Correlator(compiled.bundle.correlations)
        self._places: dict[str, Place] = {}
        self._recall = Recall(compiled)

    def evaluate(
        self, batch: Batch, events: Sequence[AnyEvent | None], earliest: int, latest: int
    ) -> list[Flag]:
        """Every hit of a batch, the PC's and ours, and the correlations they make true.

        ``earliest`` and ``latest`` event are those of the batch (µs). Does not raise.
        """
        shelves = self._recall.shelves(self._place(batch.agent_id), earliest, latest, batch.received_us)
        fed: list[Fed] = []
        try:
            if shelves is None:
                flags = list(self._carefully(batch, events, fed))
            else:
                flags = list(self._quickly(batch, events, shelves, fed))
        except Exception:  # noqa: BLE001 - a rule or a look-up that raises on one event must not hide the others
            fed.clear()
            flags = list(self._carefully(batch, events, fed))
        for seq, event, enrichment, rules in fed:
            found = self.correlator.feed(
                event, batch.agent_id, seq, rules, received_us=batch.received_us, enrichment=enrichment
            )
            flags += [_correlated(one) for one in found if not one.correlation.silent]
        return flags + self.close_windows(batch.received_us)

    def close_windows(self, now_us: int) -> list[Flag]:
        """Correlations that are judged when their window has closed."""
        return [_correlated(found) for found in self.correlator.close(now_us) if not found.correlation.silent]

    def _quickly(
        self,
        batch: Batch,
        events: Iterable[AnyEvent | None],
        shelves: Mapping[type[Event], Shelf],
        fed: list[Fed],
    ) -> Iterator[Flag]:
        """This runs for every event there is, so it calls nothing it need not: mostly no check is left, or one."""
        place, received, shelf_of = self._place(batch.agent_id), batch.received_us, shelves.get
        for seq, event in enumerate(events, batch.first_seq):
            if event is None:
                continue
            hits: Sequence[Hit] = ()
            shelf = shelf_of(event.__class__)
            if shelf is not None:
                about, remembered = shelf
                known = remembered.get(about(event))
                if known is None:
                    known = self._recall.learn(shelf, event, place, min(event.time_us, received))
                enrichment, entries = known
                for check, _hit in entries:
                    if check is None or check(event, enrichment):
                        hits = run(entries, event, enrichment)
                        self._feed(fed, seq, event, enrichment, hits)
                        break
            if hits or event.rules:
                yield from self._flags(batch.agent_id, seq, event, hits)

    def _carefully(self, batch: Batch, events: Iterable[AnyEvent | None], fed: list[Fed]) -> Iterator[Flag]:
        """As :meth:`_quickly`; whatever raises becomes a hit with ``error``."""
        place = self._place(batch.agent_id)
        for seq, event in enumerate(events, batch.first_seq):
            if event is None:
                continue
            try:
                enrichment, entries = self.compiled.known(event, place, min(event.time_us, batch.received_us))
                hits = run(entries, event, enrichment)
                self._feed(fed, seq, event, enrichment, hits)
            except Exception as error:  # noqa: BLE001 - as above
                hits = [Hit(ENRICHMENT, f"{type(error).__name__}: {error}")]
            yield from self._flags(batch.agent_id, seq, event, hits)

    def _feed(
        self, fed: list[Fed], seq: int, event: Event, enrichment: Enrichment, hits: Sequence[Hit]
    ) -> None:
        wanted = self.correlator.wanted
        names = [hit.rule.id for hit in hits if hit.rule.id in wanted and not hit.error]
        if names:
            fed.append((seq, event, enrichment, names))

    def know(self, centre: Centre) -> None:
        """Registers or lists changed: look everything up anew."""
        self.compiled.know(centre)
        self._recall = Recall(self.compiled)

    def flags_for(
        self, rule_id: str, agent_id: str, seq: int, event: AnyEvent, said: dict[str, object]
    ) -> list[Flag]:
        """A hit that no single event shows, with what was found out beside it; none where the release lacks the rule."""
        rule = self.compiled.matcher.rules.get(rule_id)
        if rule is None:
            return []
        flag = flag_of_hit(agent_id, seq, event, Hit(rule))
        return [msgspec.structs.replace(flag, event={**msgspec.to_builtins(event), **said})]

    def _place(self, agent_id: str) -> Place:
        place = self._places.get(agent_id)
        if place is None:
            place = self._places[agent_id] = self.compiled.place(agent_id)
        return place

    def _flags(self, agent_id: str, seq: int, event: AnyEvent, hits: Sequence[Hit]) -> list[Flag]:
        on_pc = dict.fromkeys(event.rules)
        flags = []
        for hit in hits:
            found_by: FoundBy = "both" if hit.rule.id in on_pc else "collector"
            on_pc.pop(hit.rule.id, None)
            if not hit.rule.silent or hit.error:
                flags.append(flag_of_hit(agent_id, seq, event, hit, found_by))
        rules = self.compiled.matcher.rules
        flags += [
            flag_of_hit(agent_id, seq, event, Hit(rules[one]), "pc")
            for one in on_pc
            if one in rules and not rules[one].silent
        ]
        if any(one not in rules for one in on_pc):
            flags.append(flag_of_hit(agent_id, seq, event, Hit(UNKNOWN), "pc"))
        return flags


def open_policy(session: Session, generation: int) -> Policy:
    """Compile a release.

    Raises RefusedError by name when it is not signed by a policy key of the trust root or cannot be read. Its age does
    not matter here: flagging by an expired release is better than not flagging.
    """
    row = session.get_one(Release, generation)
    root = trust_in_force(session)
    try:
        document = msgspec.msgpack.decode(row.document, type=Signed)
    except UNREADABLE as error:
        raise RefusedError("malformed_body", f"policy {row.generation}: {error}") from error
    bundle, digest = open_bundle(document, root.policy_keys, city=root.city, now_us=0)
    return Policy(CompiledBundle(bundle, digest))


def empty_policy() -> Policy:
    """No release yet: only what the PCs themselves report is flagged."""
    bundle = Bundle(
        city="",
        generation=0,
        issued_us=0,
        expires_us=0,
        ordinances=(),
        rules=(),
        permits=(),
        zones=(),
        settings={},
    )
    return Policy(CompiledBundle(bundle, ""))


def flag_of_hit(agent_id: str, seq: int, event: AnyEvent, hit: Hit, found_by: FoundBy = "collector") -> Flag:
    """A rule's hit on one event, on its way to an alert."""
    rule = hit.rule
    broken = bool(hit.error)
    return Flag(
        rule_id=RULE_ERROR + rule.id if broken else rule.id,
        rule_version=rule.version,
        level="high" if broken else rule.level,
        title_ja=f"規則「{rule.title_ja}」を評価できません" if broken else rule.title_ja,
        title_en=f"Rule “{rule.title_en}” could not be evaluated" if broken else rule.title_en,
        citations=rule.citations,
        agent_id=agent_id,
        person="" if broken else person_of(event),
        action=event.action,
        kind=kind_of(event),
        seq=seq,
        found_by=found_by,
        event=event,
        event_us=clamped(event.time_us),
        note=hit.error,
    )


def _correlated(found: Correlated) -> Flag:
    correlation, last = found.correlation, found.last
    event = told(found)
    return Flag(
        rule_id=correlation.id,
        rule_version=correlation.version,
        level=correlation.level,
        title_ja=correlation.title_ja,
        title_en=correlation.title_en,
        citations=correlation.citations,
        agent_id=last.agent_id,
        person=str(next((event[name] for name in PERSON_FIELDS if name in event), "")),
        action="observed",
        kind=str(event["kind"]),
        seq=last.seq,
        event=event,
        event_us=clamped(last.time_us),
    )


UNKNOWN = Rule(
    id="unknown_rule",
    version="",
    title_ja="端末が、配布中の方針にない規則の違反を報告しました",
    title_en="A PC reported a rule that is not in the policy in force",
    family="",
    control=None,
    effect="flag",
    level="medium",
    citations=(),
    predicate=Any(()),
)
"""Stands for all rules of a PC that we do not know (its policy is older, or it made them up): one alert, one budget."""

ENRICHMENT = Rule(
    id="enrichment",
    version="",
    title_ja="許可・資産・区域の照合",
    title_en="look-up of permit, asset and zone",
    family="",
    control=None,
    effect="flag",
    level="high",
    citations=(),
    predicate=Any(()),
)
"""Stands for the look-up itself when it fails on an event: that is a rule error too."""
