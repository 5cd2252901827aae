"""What is remembered never changes a verdict: the quick way through a batch against the careful one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from collector.detection.batch import Batch
from collector.detection.rules import Policy
from policies.enrich import CompiledBundle, office_span
from policies.model import (
    All,
    Assignment,
    Bundle,
    Compare,
    Destination,
    Permit,
    Scope,
    SoftwareAllow,
    Subject,
    Zone,
)
from policies.view import PolicyView
from protocol.events import AnyEvent, ConnectionOpened, DeviceAttached, ProcessStarted
from tests.collector.detection.city import ARTICLE, T0, rule

OPENS = office_span(T0)[1]
"""A moment at which office hours turn."""
TIMES = st.integers(OPENS - 30, OPENS + 30)
USERS = st.sampled_from(["", "sato", "suzuki"])
RULES = (
    rule("device", "device", Compare("permit", "eq", ("none", "expired"))),
    rule(
        "at_night",
        "device",
        All((Compare("office_hours", "eq", (False,)), Compare("label", "contains", ("disk",)))),
    ),
    rule("program", "process", Compare("permit", "eq", ("none",))),
    rule(
        "outside", "connection", All((Compare("permit", "eq", ("none",)), Compare("dest_port", "gt", (100,))))
    ),
)


def permit() -> st.SearchStrategy[Permit]:
    subject = st.one_of(
        st.tuples(st.just("device"), st.builds(Subject, device_id=st.sampled_from("ab"))),
        st.tuples(st.just("software"), st.builds(Subject, digest=st.sampled_from("xy"))),
        st.tuples(st.just("destination"), st.builds(Subject, network=st.just("192.0.2.0/30"))),
    )
    scope = st.builds(
        Scope,
        users=st.sampled_from([(), ("sato",)]),
        agents=st.sampled_from([(), ("pc1",)]),
        sections=st.sampled_from([(), ("税務課",)]),
    )

    def make(what: tuple[str, Subject], where: Scope, start: int, length: int, number: int) -> Permit:
        return Permit(
            id=f"p{number}",
            kind=what[0],  # type: ignore[arg-type]
            subject=what[1],
            scope=where,
            from_us=start,
            until_us=start + length,
            article=ARTICLE,
        )

    return st.builds(make, subject, scope, TIMES, st.integers(1, 40), st.integers(0, 10**9))


def event() -> st.SearchStrategy[AnyEvent]:
    return st.one_of(
        st.builds(
            DeviceAttached,
            time_us=TIMES,
            device_id=st.sampled_from("abc"),
            label=st.sampled_from(["disk", "key"]),
            rules=st.sampled_from([(), ("device",), ("made-up",)]),
        ),
        st.builds(ProcessStarted, time_us=TIMES, digest=st.sampled_from("xyz"), user=USERS),
        st.builds(
            ConnectionOpened,
            time_us=TIMES,
            user=USERS,
            dest_ip=st.sampled_from(["192.0.2.1", "192.0.2.9", "10.0.0.1", "nonsense"]),
            dest_port=st.sampled_from([53, 443]),
            protocol=st.just("tcp"),
        ),
    )


def bundle(permits: list[Permit]) -> Bundle:
    zone = Zone(name="z", title_ja="区", title_en="z", allow=(Destination("10.0.0.0/8", 0, "any"),))
    return Bundle(
        city="naka",
        generation=1,
        issued_us=0,
        expires_us=1,
        ordinances=(),
        rules=RULES,
        permits=tuple({one.id: one for one in permits}.values()),
        zones=(zone,),
        settings={},
        software=(SoftwareAllow(digest="z"),),
        assignments={"pc1": Assignment("z", "税務課"), "pc2": Assignment("z", "総務課")},
    )


BATCHES = st.lists(
    st.tuples(st.sampled_from(["pc1", "pc2", "pc3"]), TIMES, st.lists(event(), min_size=1, max_size=6)),
    max_size=10,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(permit(), max_size=6), BATCHES)
def test_the_quick_way_says_what_looking_at_each_event_says(
    permits: list[Permit], batches: list[tuple[str, int, list[AnyEvent]]]
) -> None:
    given_bundle = bundle(permits)
    compiled = CompiledBundle(given_bundle, "d")
    policy = Policy(compiled)
    for agent, received, events in batches:
        times = [one.time_us for one in events]
        batch = Batch(1, agent, 1, len(events), received, b"")
        flags = policy.evaluate(batch, events, min(times), max(times))
        view = PolicyView(given_bundle, "d", agent)
        for seq, one in enumerate(events, 1):
            wanted = {hit.rule.id for hit in view.detect(one, min(one.time_us, received))}
            seen = {flag.rule_id for flag in flags if flag.seq == seq and flag.found_by != "pc"}
            assert seen == wanted
            on_pc = {flag.rule_id for flag in flags if flag.seq == seq and flag.found_by != "collector"}
            assert on_pc == {"unknown_rule" if name == "made-up" else name for name in one.rules}
