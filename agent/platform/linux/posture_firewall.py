"""Does somebody other than us filter incoming connections? Read from nftables listings (nft(8)); pure.

ufw and firewalld work through nftables or iptables-nft and are seen there. Rules of the old iptables-legacy are not in
nftables: where that is in use, the answer is ``unknown``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from msgspec import Struct

OWN = re.compile(r"sekisho(_|$)")
_TABLE = re.compile(r"table (?P<family>ip|ip6|inet) (?P<name>\S+) \{")
_CHAIN = re.compile(r"\s*chain (?P<name>\S+) \{")
_HOOK = re.compile(r"\s*type filter hook input .*?(?:policy (?P<policy>\w+);)?\s*$")
_UNCONDITIONAL = re.compile(r"(?:counter(?: packets \d+ bytes \d+)? )?(?:drop|reject(?: with .+)?)")
BOTH = frozenset({"ip", "ip6"})


class InputChain(Struct, frozen=True):
    """A chain that every incoming packet passes."""

    family: str
    table: str
    name: str
    drops: bool
    """What no rule accepts is dropped by its policy."""


def input_chains(text: str) -> Iterator[InputChain]:
    """Chains at the input hook in a listing, but those of our own tables."""
    family = table = chain = ""
    for line in text.splitlines():
        if found := _TABLE.match(line):
            family, table, chain = found["family"], found["name"], ""
        elif line.startswith("table "):
            family = ""
        elif found := _CHAIN.match(line):
            chain = found["name"]
        elif family and chain and not OWN.match(table) and (found := _HOOK.match(line)):
            yield InputChain(family, table, chain, drops=found["policy"] == "drop")


def ends_with_refusal(listing: str, chain: str) -> bool:
    """Whether the last rule of a chain refuses whatever reaches it, as firewalld writes it."""
    last, inside = "", False
    for line in listing.splitlines():
        if found := _CHAIN.match(line):
            inside = found["name"] == chain
        elif line.strip() == "}":
            inside = False
        elif inside and line.strip():
            last = line.strip()
    return _UNCONDITIONAL.fullmatch(last) is not None


def judge_firewall(text: str, listing: Callable[[str, str], str]) -> tuple[str, str]:
    """(on | off, what filters) of a listing of all chains. ``listing`` gives one table with its rules.

    On only when IPv4 and IPv6 are both filtered: a PC that is open over one of them is open.
    """
    covered: set[str] = set()
    tables: dict[str, None] = {}
    for chain in input_chains(text):
        if chain.drops or ends_with_refusal(listing(chain.family, chain.table), chain.name):
            covered |= BOTH if chain.family == "inet" else {chain.family}
            tables[f"{chain.family} {chain.table}"] = None
    by = ", ".join(tables)
    if "firewalld" in by:
        by = "firewalld"
    elif re.search(r"\bchain ufw6?-", text):
        by = "ufw"
    if covered >= BOTH:
        return "on", by[:256]
    return "off", f"{by} ({', '.join(sorted(covered))} only)"[:256] if covered else ""
