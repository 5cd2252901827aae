"""The judge blocks only when everything says so, whatever comes."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.judge import CONTROL_OF, DECIDED, control_of, decide, stamp, unhindered
from policies.model import Bundle, Compare, Control, Enrichment, Hit, Rule, Setting, Zone
from policies.view import PolicyView
from protocol.events import (
    KINDS,
    AgentStarted,
    ConnectionBlocked,
    ConnectionOpened,
    DeviceAttached,
    DeviceBlocked,
    Event,
    LinkChanged,
    MediaFileWritten,
    MediaMounted,
    PermitRequested,
    ProcessDenied,
    ServiceListening,
)


def rule(**changes: Any) -> Rule:
    values: dict[str, Any] = {
        "id": "r1",
        "version": "1",
        "title_ja": "規則",
        "title_en": "rule",
        "family": "device",
        "control": "devices",
        "effect": "block",
        "level": "high",
        "citations": (),
        "predicate": Compare("device_class", "eq", ("storage",)),
    }
    return Rule(**{**values, **changes})


def view(*rules: Rule, **settings: Setting) -> PolicyView:
    bundle = Bundle(
        city="c",
        generation=3,
        issued_us=0,
        expires_us=10**18,
        ordinances=(),
        rules=rules,
        permits=(),
        zones=(Zone(name="unassigned", title_ja="", title_en=""),),
        settings={control: {"*": setting} for control, setting in settings.items()},
    )
    return PolicyView(bundle, "ab" * 32, "agent")


STICK = DeviceAttached(time_us=1, device_class="storage")


def test_without_a_policy_everything_is_observed() -> None:
    enrichment, verdict, hits = decide(None, STICK, 1)
    assert (verdict.block, hits) == (False, [])
    assert enrichment == Enrichment()


@pytest.mark.parametrize(
    ("mode", "effect", "block"),
    [
        ("enforce", "block", True),
        ("observe", "block", False),
        ("off", "block", False),
        ("enforce", "flag", False),
    ],
)
def test_only_a_block_rule_in_enforce_mode_blocks(mode: Any, effect: str, block: bool) -> None:
    _, verdict, hits = decide(view(rule(effect=effect), devices=Setting(mode)), STICK, 1)
    assert verdict.block == block
    assert verdict.rules == ("r1",)
    assert len(hits) == 1


def test_a_rule_without_a_control_never_blocks() -> None:
    _, verdict, _ = decide(view(rule(control=None), devices=Setting("enforce")), STICK, 1)
    assert not verdict.block


class _Scripted:
    """A view whose answers are given."""

    tag = "1:x"

    def __init__(self, enrichment: Enrichment, hits: list[Hit], mode: Any) -> None:
        self._enrichment, self._hits, self._mode = enrichment, hits, mode

    def enrich(self, event: Event, now_us: int) -> Enrichment:
        return self._enrichment

    def match(self, event: Event, enrichment: Enrichment) -> list[Hit]:
        return self._hits

    def setting(self, control: str) -> Setting:
        return Setting(self._mode)


@given(
    st.sampled_from(list(KINDS.values())),
    st.sampled_from(["", "granted", "none", "expired", "not_permittable"]),
    st.lists(
        st.tuples(
            st.sampled_from(["block", "flag"]),
            st.sampled_from(["devices", None]),
            st.sampled_from(["", "bad"]),
        )
    ),
    st.sampled_from(["off", "observe", "enforce"]),
    st.booleans(),
)
def test_block_needs_all_of_rule_mode_and_no_permit(
    kind: type[Event], permit: Any, drawn: list[tuple[str, Any, str]], mode: str, read_only: bool
) -> None:
    hits = [
        Hit(rule(id=str(at), effect=effect, control=control), error)
        for at, (effect, control, error) in enumerate(drawn)
    ]
    scripted: Any = _Scripted(Enrichment(permit=permit, read_only=read_only), hits, mode)
    event = kind(time_us=1)
    _, verdict, seen = decide(scripted, event, 1)
    due = any(effect == "block" and control and not error for effect, control, error in drawn)
    free = permit != "granted" and not isinstance(event, DECIDED)
    assert verdict.block == (due and free and mode == "enforce")
    assert verdict.read_only == (read_only and mode == "enforce" and control_of(event) is not None)
    assert verdict.rules == tuple(hit.rule.id for hit in hits if not hit.error)
    assert seen == hits


def test_a_rule_that_cannot_be_evaluated_is_not_silent_and_does_not_block() -> None:
    scripted: Any = _Scripted(Enrichment(), [Hit(rule(), "no such field")], "enforce")
    _, verdict, hits = decide(scripted, STICK, 1)
    assert not verdict.block
    assert hits[0].error


@pytest.mark.parametrize(
    ("event", "control"),
    [
        (STICK, "devices"),
        (MediaMounted(time_us=1), "media"),
        (ProcessDenied(time_us=1), "execution"),
        (ConnectionOpened(time_us=1), "connections"),
        (MediaFileWritten(time_us=1), "files"),
        (LinkChanged(time_us=1), "links"),
        (ServiceListening(time_us=1), "posture"),
        (AgentStarted(time_us=1), None),
        (PermitRequested(time_us=1), None),
    ],
)
def test_control_of(event: Event, control: str | None) -> None:
    assert control_of(event) == control


def test_every_kind_but_the_agents_own_has_its_control() -> None:
    without = {tag for tag in KINDS if tag not in CONTROL_OF and tag.partition(".")[0] not in CONTROL_OF}
    assert {tag.partition(".")[0] for tag in without} == {"agent", "permit", "notice"}
    assert set(CONTROL_OF.values()) == set(get_args(Control))


def test_stamp_fills_what_was_decided() -> None:
    enrichment = Enrichment(permit="granted", permit_id="p1", zone="z", dest_zone="far")
    _, verdict, _ = decide(view(rule(), devices=Setting("enforce")), STICK, 1)
    stamped = stamp(STICK, enrichment, verdict, "allowed", "3:abc")
    assert (stamped.action, stamped.permit, stamped.permit_id, stamped.zone) == (
        "allowed",
        "granted",
        "p1",
        "z",
    )
    assert (stamped.rules, stamped.policy) == (("r1",), "3:abc")
    opened = stamp(ConnectionOpened(time_us=1), enrichment, verdict, "observed", "")
    assert isinstance(opened, ConnectionOpened)
    assert opened.dest_zone == "far"


@pytest.mark.parametrize(
    "event", [ConnectionBlocked(time_us=1, action="blocked"), DeviceBlocked(time_us=1, action="failed")]
)
def test_what_the_kernel_decided_keeps_its_action(event: Event) -> None:
    _, verdict, _ = decide(None, event, 1)
    assert stamp(event, Enrichment(), verdict, "observed", "").action == event.action


def test_own_zone_and_permit_survive_an_empty_enrichment() -> None:
    event = DeviceBlocked(time_us=1, zone="z", permit="none", rules=("r9",))
    _, verdict, _ = decide(None, event, 1)
    stamped = stamp(event, Enrichment(), verdict, "blocked", "")
    assert (stamped.zone, stamped.permit, stamped.rules) == ("z", "none", ("r9",))


def test_what_a_permit_covers_was_allowed_where_the_control_stops() -> None:
    event = DeviceAttached(time_us=1)
    granted, without = Enrichment(permit="granted"), Enrichment(permit="none")
    enforcing, observing = view(devices=Setting("enforce")), view(devices=Setting("observe"))
    assert unhindered(enforcing, event, granted) == "allowed"
    assert unhindered(enforcing, event, without) == "observed"
    assert unhindered(observing, event, granted) == "observed"
    assert unhindered(None, event, granted) == "observed"
