"""Lists that the site puts in, keywords, and fields compared with fields."""

import pytest

from policies.compile import RuleError, compile_text
from policies.match import evaluate
from policies.model import All, Compare, Enrichment
from protocol.events import DeviceAttached
from tests.policies.test_compile import HEAD, ORDINANCES, one

LISTED = (
    '  a:\n    label|expand: ["%sticks%", other]\n    serial|startswith|expand: "%makers%-"\n  condition: a\n'
)
LISTS = {"sticks": ("SanDisk", "Kingston"), "makers": ("0781", "0951")}


def test_lists_are_put_in() -> None:
    made = compile_text(HEAD.replace("CATEGORY", "device") + LISTED, "r.yml", ORDINANCES, LISTS)
    assert made.predicate == All(
        (
            Compare("label", "eq", ("SanDisk", "Kingston", "other")),
            Compare("serial", "startswith", ("0781-", "0951-")),
        )
    )


def test_networks_may_be_listed() -> None:
    text = (
        HEAD.replace("CATEGORY", "connection") + "  a:\n    dest_ip|cidr|expand: '%nets%'\n  condition: a\n"
    )
    made = compile_text(text, "r.yml", ORDINANCES, {"nets": ("10.0.0.0/8", "192.0.2.0/24")})
    assert made.predicate == Compare("dest_ip", "cidr", ("10.0.0.0/8", "192.0.2.0/24"))
    with pytest.raises(RuleError, match="everywhere"):
        compile_text(text, "r.yml", ORDINANCES, {"nets": ("everywhere",)})


def test_a_rule_brings_lists_that_the_site_may_replace() -> None:
    head = HEAD.replace("  effect: block\n", "  effect: block\n  lists: {sticks: [none], makers: ['1']}\n")
    text = head.replace("CATEGORY", "device") + LISTED
    assert compile_text(text, "r.yml", ORDINANCES).predicate.parts[0].values == ("none", "other")  # type: ignore[union-attr]
    site = compile_text(text, "r.yml", ORDINANCES, {"sticks": ("x",)})
    assert site.predicate.parts[0].values == ("x", "other")  # type: ignore[union-attr]


def test_an_empty_list_is_refused() -> None:
    with pytest.raises(RuleError, match="list sticks is empty"):
        compile_text(
            HEAD.replace("CATEGORY", "device") + LISTED, "r.yml", ORDINANCES, {**LISTS, "sticks": ()}
        )


def test_keywords_search_all_text_but_what_was_decided() -> None:
    predicate = one("- SanDisk")
    for event, wanted in (
        (DeviceAttached(time_us=1, label="a sandisk stick"), True),
        (DeviceAttached(time_us=1, interfaces=("08:06:50", "SANDISK")), True),
        (DeviceAttached(time_us=1, zone="sandisk", rules=("sandisk",)), False),
        (DeviceAttached(time_us=1), False),
    ):
        assert evaluate(predicate, event, Enrichment()) == wanted


def test_fields_compare_with_parts_of_others() -> None:
    predicate = one("label|fieldref|endswith: serial")
    for label, serial, wanted in (("stick S1", "s1", True), ("S1 stick", "s1", False), ("stick", "", False)):
        assert (
            evaluate(predicate, DeviceAttached(time_us=1, label=label, serial=serial), Enrichment()) == wanted
        )
