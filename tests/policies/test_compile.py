"""Rules are read as Sigma says, and what is wrong is refused with file, line and a hint."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.compile import RuleError, compile_directory, compile_text
from policies.match import evaluate
from policies.model import All, Any, Compare, Enrichment, Node, Not, Rule
from policies.shipped import load_shipped
from protocol.events import ConnectionBlocked, DeviceAttached

ORDINANCES, SHIPPED = load_shipped()

HEAD = """\
title: A title
id: 6d9ff4a4-6f1c-4f6e-9d0c-000000000001
name: a_rule
level: high
logsource: {product: sekisho, category: CATEGORY}
sekisho:
  version: "1"
  title_ja: 題
  control: devices
  effect: block
  citations: [{ordinance: nagoya, article: 第35条第4号}]
detection:
"""
FIRST = HEAD.count("\n") + 1
"""Line of the first thing below ``detection:``."""


def rule(detection: str, category: str = "device", head: str = HEAD) -> Rule:
    return compile_text(head.replace("CATEGORY", category) + detection, "a_rule.yml", ORDINANCES)


def one(item: str, category: str = "device") -> Node:
    return rule(f"  a:\n    {item}\n  condition: a\n", category).predicate


def test_everything_of_a_rule_arrives() -> None:
    made = rule("  a: {permit: none}\n  condition: a\n")
    assert (made.id, made.version, made.title_ja, made.title_en) == ("a_rule", "1", "題", "A title")
    assert (made.family, made.control, made.effect, made.level) == ("device", "devices", "block", "high")
    (citation,) = made.citations
    assert (citation.ordinance, citation.article, citation.edition) == ("nagoya", "第35条第4号", "2016-04-01")
    assert citation.summary_ja
    assert citation.summary_en


@pytest.mark.parametrize(
    ("item", "node"),
    [
        ("permit: none", Compare("permit", "eq", ("none",))),
        ("permit: [none, expired]", Compare("permit", "eq", ("none", "expired"))),
        ("label: null", Compare("label", "eq", (None,))),
        ("label: ''", Compare("label", "eq", ("",))),
        ("label: '*'", Compare("label", "exists", (True,))),
        ("label: 'foo*'", Compare("label", "startswith", ("foo",))),
        ("label: '*foo'", Compare("label", "endswith", ("foo",))),
        ("label: '*foo*'", Compare("label", "contains", ("foo",))),
        ("label: 'f?o.*'", Compare("label", "re", (r"(?is)\Af.o\..*\z",))),
        (r"label: 'foo\*'", Compare("label", "eq", ("foo*",))),
        ("label|contains: [a, b]", Compare("label", "contains", ("a", "b"))),
        ("label|contains|all: [a, b]", Compare("label", "contains", ("a", "b"), every=True)),
        ("label|startswith: a", Compare("label", "startswith", ("a",))),
        ("label|endswith: a", Compare("label", "endswith", ("a",))),
        ("label|cased: Ab", Compare("label", "eq", ("Ab",), cased=True)),
        ("label|contains|cased: Ab", Compare("label", "contains", ("Ab",), cased=True)),
        ("label|re: 'a+b\\d'", Compare("label", "re", ("a+b\\d",))),
        ("label|re|i: 'a+b'", Compare("label", "re", ("(?i)a+b",))),
        ("label|neq: a", Not(Compare("label", "eq", ("a",)))),
        ("serial|exists: false", Compare("serial", "exists", (False,))),
        ("serial|fieldref: label", Compare("serial", "fieldref", ("label",))),
        ("office_hours: false", Compare("office_hours", "eq", (False,))),
        ("latency_us|gte: 5", Compare("latency_us", "gte", (5,))),
        ("interfaces|startswith: '03:'", Compare("interfaces", "startswith", ("03:",))),
        ("kind: device.attached", Compare("kind", "eq", ("device.attached",))),
        (
            "{permit: none, asset: city}",
            All((Compare("permit", "eq", ("none",)), Compare("asset", "eq", ("city",)))),
        ),
        (
            "[{permit: none}, {asset: city}]",
            Any((Compare("permit", "eq", ("none",)), Compare("asset", "eq", ("city",)))),
        ),
        ("label|base64: foo", Compare("label", "eq", ("Zm9v",))),
        (
            "label|base64offset|contains: /bin/sh",
            Compare("label", "contains", ("L2Jpbi9za", "9iaW4vc2", "vYmluL3No")),
        ),
        ("label|wide: ab", Compare("label", "eq", ("a\0b\0",))),
        ("label|utf16le: ab", Compare("label", "eq", ("a\0b\0",))),
        ("label|utf16be: ab", Compare("label", "eq", ("\0a\0b",))),
        ("label|wide|base64offset|contains: ab", Compare("label", "contains", ("YQBiA", "EAYg", "hAGIA"))),
        (
            "label|windash|contains: ' -e'",
            Compare("label", "contains", (" -e", " /e", " \u2013e", " \u2014e", " \u2015e")),
        ),
        ("label|re|m: 'a$'", Compare("label", "re", ("(?m)a$",))),
        ("label|re|s|i: 'a.b'", Compare("label", "re", ("(?is)a.b",))),
        ("serial|fieldref|contains: label", Compare("serial", "fieldref_contains", ("label",))),
        ("serial|fieldref|startswith: label", Compare("serial", "fieldref_startswith", ("label",))),
        ("serial|fieldref|endswith: label", Compare("serial", "fieldref_endswith", ("label",))),
        ("- word", Compare("*", "contains", ("word",))),
        ("- 'two words'\n    - 4711", Compare("*", "contains", ("two words", "4711"))),
        ("'|all': [one, two]", Compare("*", "contains", ("one", "two"), every=True)),
        ("'|re': 'a+b'", Compare("*", "re", ("a+b",))),
    ],
)
def test_items(item: str, node: Node) -> None:
    assert one(item) == node


@pytest.mark.parametrize(
    ("condition", "node"),
    [
        ("1 of s*", Any((Compare("serial", "eq", ("x",)), Compare("label", "eq", ("y",))))),
        ("all of them", All((Compare("serial", "eq", ("x",)), Compare("label", "eq", ("y",))))),
        ("sa and not sb", All((Compare("serial", "eq", ("x",)), Not(Compare("label", "eq", ("y",)))))),
        ("1 of them", Any((Compare("serial", "eq", ("x",)), Compare("label", "eq", ("y",))))),
        ("any of s*", Any((Compare("serial", "eq", ("x",)), Compare("label", "eq", ("y",))))),
        ("all of s*", All((Compare("serial", "eq", ("x",)), Compare("label", "eq", ("y",))))),
        ("not 1 of s*", Not(Any((Compare("serial", "eq", ("x",)), Compare("label", "eq", ("y",)))))),
        ("[sa, sb]", Any((Compare("serial", "eq", ("x",)), Compare("label", "eq", ("y",))))),
        ("not (sa or sb)", Not(Any((Compare("serial", "eq", ("x",)), Compare("label", "eq", ("y",)))))),
    ],
)
def test_conditions(condition: str, node: Node) -> None:
    assert rule(f"  sa: {{serial: x}}\n  sb: {{label: y}}\n  condition: {condition}\n").predicate == node


def test_wildcards_match_as_sigma_says() -> None:
    predicate = one(r"label: 'San*k ?ltra (1.0)'")
    for label, wanted in {
        "sandisk ultra (1.0)": True,
        "SanDisk  ltra (1.0)": True,
        "sandisk ultra (1x0)": False,
    }.items():
        assert evaluate(predicate, DeviceAttached(time_us=1, label=label), Enrichment()) == wanted


def test_networks_match() -> None:
    predicate = one("dest_ip|cidr: [203.0.113.0/24, '2001:db8::/32']", "connection")
    for address, wanted in {
        "203.0.113.9": True,
        "::ffff:203.0.113.9": True,
        "2001:db8::1": True,
        "192.0.2.1": False,
    }.items():
        assert evaluate(predicate, ConnectionBlocked(time_us=1, dest_ip=address), Enrichment()) == wanted


REFUSED = [
    ("labell: x", "unknown field labell for device", "did you mean label", 1),
    ("label|base32: x", "unknown modifier base32", "did you mean base64", 1),
    ("label|minute: 5", "unknown modifier minute", "", 1),
    ("label|expand: '%nets%'", "no list nets", "policy.yaml", 1),
    ("label|wide: é", "", "", 0),
    ("label|windash: -a -b -c -d", "", "", 0),
    ("label|contians: x", "unknown modifier contians", "contains", 1),
    (r"label|re: '(a)\1'", "regex refused by RE2", "", 1),
    ("label|re: '((a{100}){100}){100}'", "regex refused by RE2", "", 1),
    (f"label|re: '{'x' * 1001}'", "regex of 1001 characters, at most 1000", "", 1),
    ("label|re: '('", "", "", 1),
    ("src_ip: x", "unknown field src_ip for device", "", 1),
    ("permit: nonee", "permit can never be 'nonee'", "did you mean none", 1),
    ("kind: device.attach", "kind can never be 'device.attach'", "device.attached", 1),
    ("label: 5", "label is text; 5 can never match", "", 1),
    ("latency_us: fast", "latency_us is a number, without quotes", "", 1),
    ("latency_us: 1.5", "1.5 is not a whole number", "", 1),
    ("office_hours: maybe", "office_hours is true or false", "", 1),
    ("label|gt: 5", "gt on label, which is no number", "", 1),
    ("serial|fieldref: labell", "unknown field labell", "did you mean label", 1),
    ("label: x\n    serial: y\n    label: z", "label stands here twice", "", 3),
]


@pytest.mark.parametrize(
    ("item", "message", "hint", "line"), REFUSED, ids=[entry[0][:24] for entry in REFUSED]
)
def test_items_are_refused_with_the_place(item: str, message: str, hint: str, line: int) -> None:
    with pytest.raises(RuleError) as caught:
        one(item)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.file == "a_rule.yml"
    if line:
        assert caught.value.line == FIRST + line
    assert str(caught.value).startswith(f"a_rule.yml:{caught.value.line}: ")


GOOD = "  a: {permit: none}\n  condition: a\n"
WHOLE = [
    (HEAD, "  a: {permit: none\n  condition: a\n", "not valid YAML", FIRST + 1),
    (HEAD, "  a: &x {permit: none}\n  b: *x\n  condition: a or b\n", "anchors and aliases", FIRST + 1),
    (HEAD, "  a: {permit: none}\n  condition: a and\n", "", FIRST + 1),
    (HEAD, "  a: {permit: none}\n  condition: b\n", "", FIRST),
    (
        HEAD,
        "  a: {permit: none}\n  b: {permit: none}\n  condition: a\n",
        "the condition never uses b",
        FIRST + 1,
    ),
    (HEAD, "  a: {permit: none}\n  timeframe: 5m\n  condition: a\n", "timeframe is not supported", FIRST + 1),
    (HEAD, "  a: {permit: none}\n", "", FIRST - 1),
    (HEAD, "  on: {permit: none}\n  condition: on\n", "a key is text", FIRST),
    (HEAD, "  a: {permit: none}\n  ? [a]\n  : 1\n", "a key is text", FIRST + 1),
    (HEAD.replace("CATEGORY", "devices"), GOOD, "unknown category devices", 5),
    (HEAD.replace("sekisho, cat", "windows, cat"), GOOD, "log source windows device is not collected", 5),
    (HEAD.replace("level: high", "level: huge"), GOOD, "huge", 4),
    (HEAD.replace("level: high\n", ""), GOOD, "a rule needs a level", 1),
    (HEAD.replace("name: a_rule\n", ""), GOOD, "a rule needs a name", 1),
    (HEAD.replace("id: 6d9ff4a4-6f1c-4f6e-9d0c-000000000001\n", ""), GOOD, "a rule needs an id", 1),
    (HEAD.replace("6d9ff4a4-", "zzz"), GOOD, "", 2),
    (HEAD.replace("effect: block", "effect: blok"), GOOD, "sekisho.effect", 10),
    (HEAD.replace("effect: block", "efect: block"), GOOD, "efect", 10),
    (HEAD.replace("第35条第4号", "第35条第44号"), GOOD, "nagoya has no 第35条第44号", 11),
    (HEAD.replace("ordinance: nagoya", "ordinance: nagoja"), GOOD, "unknown ordinance nagoja", 11),
    (
        HEAD.replace("citations: [{ordinance: nagoya, article: 第35条第4号}]", "citations: []"),
        GOOD,
        "citations",
        11,
    ),
    ("correlation: {}\n" + HEAD, GOOD, "needs the rules it is about", 1),
    (HEAD[: HEAD.index("sekisho:")] + "detection:\n", GOOD, "a rule needs a map sekisho", 1),
]


@pytest.mark.parametrize(
    ("head", "detection", "message", "line"), WHOLE, ids=[str(number) for number in range(len(WHOLE))]
)
def test_rules_are_refused_with_the_place(head: str, detection: str, message: str, line: int) -> None:
    with pytest.raises(RuleError) as caught:
        rule(detection, head=head)
    assert message in str(caught.value)
    assert caught.value.line == line


@pytest.mark.parametrize("text", ["", "[]", "just text", "\x00", "a: " + "[" * 5000, "- " * 3000])
def test_junk_is_refused(text: str) -> None:
    with pytest.raises(RuleError):
        compile_text(text, "junk.yml", ORDINANCES)


def test_two_rules_with_one_id_are_refused(tmp_path: Path) -> None:
    text = HEAD.replace("CATEGORY", "device") + GOOD
    (tmp_path / "a.yml").write_text(text, encoding="utf-8")
    (tmp_path / "b.yml").write_text(text.replace("a_rule", "b_rule"), encoding="utf-8")
    with pytest.raises(RuleError, match=r"b\.yml:2: two rules with one id"):
        compile_directory(tmp_path, ORDINANCES)


def test_shipped_rules_need_no_regex_engine_on_the_pc() -> None:
    def operators(node: Node) -> set[str]:
        if isinstance(node, Compare):
            return {node.op}
        parts = (node.part,) if isinstance(node, Not) else node.parts
        return set().union(*(operators(part) for part in parts))

    assert all("re" not in operators(shipped.predicate) for shipped in SHIPPED)


WORDS = st.sampled_from(
    ["|", "re", "contains", ":", " ", "\n", "  ", "- ", "[", "]", "{", "}", "'", "*", "%x%", "not ", "1 of ", "them", "(", "null", "5", "\\", "器"]
)  # fmt: skip


@settings(max_examples=400)
@given(st.integers(0, len(HEAD) + len(GOOD)), st.integers(0, 12), st.lists(WORDS, max_size=6).map("".join))
def test_whatever_stands_in_a_rule_is_compiled_or_refused_by_name(at: int, cut: int, put: str) -> None:
    text = HEAD.replace("CATEGORY", "device") + GOOD
    with contextlib.suppress(RuleError):
        compile_text(text[:at] + put + text[at + cut :], "r.yml", ORDINANCES, {"x": ("y",)})
