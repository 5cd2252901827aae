"""Throughput by the number of rules: 10 against 1,000, on the same ordinary day of the same PCs.

The thousand are made up in the style of public Sigma rule sets: most about the program and its command line, with lists
of names, words that must all be there, exceptions, a few regular expressions; some about connections, names, files and
logons. They go through the compiler like any other rule.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from policies.compile import compile_text
from policies.enrich import CompiledBundle
from policies.model import Assignment, Bundle, Rule, SoftwareAllow, Zone
from policies.shipped import load_shipped
from policies.view import PolicyView
from protocol.events import Event, ProcessStarted
from tests.bench.fleet import day

RULES, FEW = 1000, 10
EVENTS, TRIES = 30_000, 3
_SYLLABLES = [
    "ba",
    "ko",
    "mi",
    "ra",
    "to",
    "ne",
    "su",
    "vi",
    "la",
    "do",
    "ke",
    "fu",
    "ri",
    "za",
    "mo",
    "pe",
    "xu",
    "jo",
    "ti",
    "wa",
]
_HEAD = """\
title: Made up {number}
id: {id}
name: made_up_{number}
level: {level}
logsource: {{product: linux, category: {category}}}
detection:
"""
_SELECTION = {
    "process_creation": ("Image|endswith", "CommandLine|contains", "ParentImage|endswith"),
    "network_connection": ("Image|endswith", "DestinationHostname|endswith", "DestinationIp|startswith"),
    "dns_query": ("QueryName|endswith", "QueryName|contains", "Image|endswith"),
    "file_event": ("TargetFilename|endswith", "TargetFilename|contains", "Image|endswith"),
}
_CATEGORIES = ("process_creation",) * 7 + ("network_connection", "dns_query", "file_event")


class Maker:
    """Makes rules; the same seed makes the same."""

    def __init__(self, seed: int = 7) -> None:
        self._dice = random.Random(seed)

    def word(self) -> str:
        """A word that is not in the events."""
        return "".join(self._dice.choices(_SYLLABLES, k=self._dice.randint(2, 5)))

    def _value(self, item: str) -> str:
        if "Ip" in item:
            return f"203.0.{self._dice.randrange(256)}."
        if "Hostname" in item or item == "QueryName|endswith":
            return f".{self.word()}.example"
        if item.endswith("|endswith"):
            return f"/{self.word()}"
        return self._dice.choice(
            [f" --{self.word()}", f" -{self.word()} ", f"{self.word()} /tmp/", self.word()]
        )

    def _item(self, item: str, most: int) -> str:
        values = ", ".join(f"'{self._value(item)}'" for _ in range(self._dice.randint(1, most)))
        every = "|all" if "contains" in item and self._dice.random() < 0.3 else ""
        return f"    {item}{every}: [{values}]\n"

    def rule(self, number: int) -> str:
        """One rule."""
        category = self._dice.choice(_CATEGORIES)
        first, second, third = _SELECTION[category]
        text = _HEAD.format(
            number=number,
            id=uuid.UUID(int=self._dice.getrandbits(128), version=4),
            level=self._dice.choice(["low", "medium", "high"]),
            category=category,
        )
        text += "  who:\n" + self._item(first, 6)
        text += "  what:\n" + self._item(second, 8)
        chance = self._dice.random()
        if chance < 0.05:
            text += f"  odd:\n    {second.split('|')[0]}|re: '{self.word()}[0-9]{{2,8}}\\.{self.word()}'\n"
            return text + "  condition: odd or (who and what)\n"
        if chance < 0.4:
            text += "  filter:\n" + self._item(third, 3)
            return text + "  condition: who and what and not filter\n"
        return text + self._dice.choice(["  condition: all of them\n", "  condition: who and 1 of wha*\n"])


def make_rules(count: int) -> list[Rule]:
    """So many rules, compiled."""
    ordinances, _ = load_shipped()
    maker = Maker()
    return [compile_text(maker.rule(number), f"made_up_{number}.yml", ordinances) for number in range(count)]


def events_of_a_day(count: int) -> list[Event]:
    """An ordinary day, with the command lines of what was started."""
    return [
        replace(event, args=f"{event.target} {event.cmdline}") if isinstance(event, ProcessStarted) else event
        for event in day(random.Random(1), count)
    ]


def view_of(rules: Sequence[Rule]) -> PolicyView:
    """What the detector has for one PC under these rules."""
    bundle = Bundle(
        city="bench",
        generation=1,
        issued_us=0,
        expires_us=1 << 60,
        ordinances=(),
        rules=tuple(rules),
        permits=(),
        zones=(Zone(name="lgwan", title_ja="LGWAN接続系", title_en="LGWAN", networks=("10.0.0.0/8",)),),
        settings={},
        software=(SoftwareAllow("dpkg", "*"),),
        unassigned=Assignment("lgwan"),
    )
    return PolicyView.of(CompiledBundle(bundle, "bench"), "pc")


def speed(view: PolicyView, events: Sequence[Event]) -> float:
    """Events a second, the best of some tries."""
    best = float("inf")
    for _ in range(TRIES):
        begin = time.perf_counter()
        for event in events:
            view.detect(event, event.time_us)
        best = min(best, time.perf_counter() - begin)
    return len(events) / best


def measure(say: Callable[[str], None]) -> dict[str, float]:
    """Measure both."""
    say(f"making {RULES} rules")
    rules = make_rules(RULES)
    events = events_of_a_day(EVENTS)
    begin = time.perf_counter()
    many = view_of(rules)
    compiled_s = time.perf_counter() - begin
    say(f"{FEW} rules")
    few = speed(view_of(rules[:FEW]), events)
    say(f"{RULES} rules")
    all_of_them = speed(many, events)
    return {
        "rules.events_per_s_10": few,
        "rules.events_per_s_1000": all_of_them,
        "rules.ratio_1000_vs_10": all_of_them / few,
        "rules.load_1000_ms": compiled_s * 1000,
    }
