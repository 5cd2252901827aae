"""Many rules behind an index fire on exactly what they fire on one by one."""

import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policies.match import FEW, Matcher, evaluate, run
from policies.match_index import Index, anchors_of
from policies.match_literals import required_text
from policies.model import All, Any, Compare, Enrichment, Node, Not, Op, Rule
from protocol.events import Event, ProcessStarted, kind_of
from tests.policies import strategies as make


def rule(predicate: Node, family: str, id: str) -> Rule:
    return Rule(
        id=id, version="1", title_ja="", title_en="", family=family, control=None, effect="flag",
        level="low", citations=(), predicate=predicate,
    )  # fmt: skip


@settings(max_examples=150)
@given(
    st.lists(make.nodes, min_size=FEW + 1, max_size=40), st.lists(make.events, max_size=5), make.enrichments
)
def test_an_index_changes_nothing(nodes: list[Node], events: list[Event], enrichment: Enrichment) -> None:
    families = ("device", "connection", "process")
    matcher = Matcher(rule(node, name, f"{name}{n}") for name in families for n, node in enumerate(nodes))
    for event in events:
        family = kind_of(event).partition(".")[0]
        wanted = [f"{family}{n}" for n, node in enumerate(nodes) if evaluate(node, event, enrichment)]
        assert [hit.rule.id for hit in matcher.match(event, enrichment)] == wanted
        narrowed = matcher.narrow(type(event), enrichment)
        hits = run(narrowed, event, enrichment)
        assert sorted(hit.rule.id for hit in hits) == sorted(wanted)
        assert any(check is None or check(event, enrichment) for check, _ in narrowed) == bool(wanted)


TEXTS = [
    "/usr/bin/nc",
    "C:\\Windows\\nc.exe",
    "nc -e /bin/sh",
    "NC.EXE",
    "機器-器",
    "Σας ΑΣ",
    "",
    "a/b\\c",
    "ſſ",
]
texts = st.one_of(st.sampled_from(TEXTS), st.text(alphabet="ncNC./\\- ΣσςsſK機器", max_size=8))
ops: list[Op] = ["eq", "contains", "startswith", "endswith"]
compares = st.builds(
    Compare,
    field=st.sampled_from(["target", "args", "exe", "*"]),
    op=st.sampled_from(ops),
    values=st.lists(texts, min_size=1, max_size=3).map(tuple),
    every=st.booleans(),
    cased=st.booleans(),
)
processes = st.builds(ProcessStarted, time_us=st.just(1), target=texts, args=texts, exe=texts)


@settings(max_examples=300)
@given(st.lists(compares, min_size=FEW + 1, max_size=30), processes)
def test_texts_are_found_whatever_they_are(nodes: list[Compare], event: ProcessStarted) -> None:
    matcher = Matcher(rule(node, "process", str(n)) for n, node in enumerate(nodes))
    wanted = [str(n) for n, node in enumerate(nodes) if evaluate(node, event, Enrichment())]
    assert [hit.rule.id for hit in matcher.match(event, Enrichment())] == wanted


atoms = st.sampled_from(
    [
        "a",
        "S",
        "k",
        "foo",
        ".",
        "\\.",
        "\\d",
        "\\\\",
        "[a-c]",
        "[^]x]",
        "[]x]",
        "[[:alpha:]]",
        "[\\]s]",
        "(ab|cd)",
        "(?:x)",
        "器",
        "Σ",
        "{",
        "\\pL",
    ]
)
parts = st.tuples(atoms, st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{0,3}", "+?"])).map("".join)
patterns = st.tuples(
    st.sampled_from(["", "(?i)", "(?is)"]),
    st.lists(parts, min_size=1, max_size=6).map("".join),
    st.sampled_from(["", "|b", "$"]),
).map("".join)


@settings(max_examples=600)
@given(patterns, st.text(alphabet="aSskK foo.\\0bc]xd器ΣσςſK{L", max_size=16))
@example("(?i)s", "ſ")
@example("[[:alpha:]]tail", "ytail")
@example("a|b", "b")
def test_a_pattern_never_matches_without_its_text(pattern: str, text: str) -> None:
    options = re2.Options()
    options.log_errors = False
    try:
        found = re2.compile(pattern, options).search(text)
    except re2.error:
        return
    assert found is None or required_text(pattern) in text.lower()


def test_anchors_are_what_a_rule_cannot_do_without() -> None:
    image = Compare("target", "endswith", ("/nc", "\\ncat.exe"))
    words = Compare("args", "contains", ("-e", "/bin/sh"), every=True)
    assert anchors_of(image) == frozenset({("target", "last", "nc"), ("target", "last", "ncat.exe")})
    assert anchors_of(words) == frozenset({("args", "part", "/bin/sh")})
    assert anchors_of(All((words, image))) == anchors_of(image), "the rarer ones"
    assert anchors_of(Any((words, Not(image)))) is None
    assert anchors_of(Compare("args", "re", (r"(?i)\bncat\s+-e",))) == frozenset({("args", "part", "ncat")})


def test_only_rules_that_may_fire_are_tried() -> None:
    tried: list[str] = []

    def entry(name: str) -> tuple[object, object, Node]:
        def check(_event: Event, _enrichment: Enrichment) -> bool:
            tried.append(name)
            return True

        return check, None, Compare("target", "endswith", (f"/{name}",))

    index = Index("process.started", [entry(f"tool{n}") for n in range(1000)])  # type: ignore[misc]
    assert index.holds(ProcessStarted(time_us=1, target="/usr/bin/tool7"), Enrichment())
    assert tried == ["tool7"]
    assert not index.holds(ProcessStarted(time_us=1, target="/usr/bin/other"), Enrichment())
