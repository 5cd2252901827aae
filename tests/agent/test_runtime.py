"""The resident agent with small sensors and enforcers of its own, against the collector double."""

import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest
import zstandard

from agent.clock import ClockWatch
from agent.enforcers import Enforcer, Outcome, Verdict
from agent.enrolment import enrol
from agent.identity import Identity, Target
from agent.left_reports import leave_report
from agent.platform import Platform
from agent.platform.ports import OverflowedError, Readiness, UnsupportedError
from agent.policy_keeper import BUNDLE_FILE
from agent.runtime import Runtime
from agent.sensors import POLLIN, Sensor
from agent.status import Status, read_status
from policies.bundle import seal_bundle
from policies.model import Control, Setting
from policies.view import PolicyView
from protocol.events import (
    AgentDropped,
    AgentHealth,
    AgentIsolated,
    AgentPolicyApplied,
    AgentRestored,
    AgentStarted,
    AgentStopped,
    AnyEvent,
    DeviceAttached,
    DeviceBlocked,
    Event,
    MediaMounted,
    decode_events,
)
from protocol.keys import fingerprint, new_sign_pair
from protocol.messages import Batch, Heartbeat, OrderDelivery, OrderResult, PolicyBundle
from protocol.refusal import RefusedError
from protocol.signed import Signed
from protocol.text import Text
from protocol.trust import TrustRoot
from tests.agent.collector_double import Collector, running, until
from tests.agent.test_judge import rule
from tests.agent.test_uplink import bundle

NOTHING = Text("無", "none")


def make_sensor(control: Control) -> type[Sensor]:
    """A sensor of its own class (so that tests share nothing), fed through a pipe; one byte is one command."""

    class Fed(Sensor):
        name = f"fed_{control}"
        emits: ClassVar[tuple[type[Event], ...]] = (DeviceAttached,)
        doc = limits = NOTHING
        example = DeviceAttached(time_us=0)
        period_s = 0.1
        opened = 0
        unsupported = False
        feed: ClassVar[int]

        def open(self) -> Iterable[Event]:
            type(self).opened += 1
            if self.unsupported:
                raise UnsupportedError("no_pipe", "no pipe here", "buy one")
            self._read, type(self).feed = os.pipe()
            return [MediaMounted(time_us=1, source=f"opened{self.opened}")]

        def filenos(self) -> Iterable[tuple[int, int]]:
            return [(self._read, POLLIN)]

        def read(self, fileno: int) -> Iterable[Event]:
            match os.read(fileno, 1):
                case b"d":
                    yield DeviceAttached(time_us=2, device_class="storage", port="1-1")
                case b"o":
                    raise OverflowedError("queue")
                case b"x":
                    raise ValueError("broken on purpose")

        def recover(self) -> Iterable[Event]:
            yield MediaMounted(time_us=3, source="recovered")

        def close(self) -> None:
            for fileno in (getattr(self, "_read", -1), getattr(self, "feed", -1)):
                if fileno >= 0:
                    os.close(fileno)
            self._read = type(self).feed = -1

    Fed.control = control
    Sensor.registry.pop(Fed.name, None)
    return Fed


def make_enforcer() -> type[Enforcer]:
    class Hand(Enforcer):
        name = "hand"
        control: ClassVar[Control | None] = "devices"
        applied: ClassVar[list[int]] = []
        cleaned: ClassVar[list[bool]] = []
        ticks: ClassVar[list[Event]] = []
        breaks = False

        def readiness(self) -> Readiness:
            return Readiness("enforce")

        def apply(self, policy: PolicyView) -> None:
            if self.breaks:
                raise OSError("no such table")
            self.applied.append(policy.generation)

        def observe(self) -> dict[str, str]:
            return {"applied": str(len(self.applied))}

        def clean(self) -> None:
            self.cleaned.append(True)

        def stop(self, event: Event, verdict: Verdict) -> Outcome | None:
            if not isinstance(event, DeviceAttached):
                return None
            if not verdict.block:
                return Outcome(action="allowed")
            return Outcome(
                action="blocked", record=DeviceBlocked(time_us=9, action="blocked", port=event.port)
            )

        def tick(self) -> list[Event]:
            if self.ticks and self.ticks[0].time_us == -1:
                self.ticks.clear()
                raise RuntimeError("tick broke")
            events, self.ticks[:] = list(self.ticks), []
            return events

    Enforcer.registry.pop("hand", None)
    return Hand


def make_isolation() -> type[Enforcer]:
    class Cut(Enforcer):
        name = "isolation"
        control: ClassVar[Control | None] = None
        now = "free"
        cleaned: ClassVar[list[bool]] = []
        asked: ClassVar[list[int | None]] = []

        def readiness(self) -> Readiness:
            return Readiness("enforce")

        def apply(self, policy: PolicyView) -> None:
            pass

        def observe(self) -> dict[str, str]:
            return {"state": self.now, "order": "o1" if self.now != "free" else ""}

        def clean(self) -> None:
            self.cleaned.append(True)

        def state(self) -> str:
            return self.now

        def execute(
            self, document: Signed, root: TrustRoot, agent_id: str, now_us: int | None = None
        ) -> OrderResult:
            self.asked.append(now_us)
            match document.body:
                case b"isolate":
                    self.now = "isolated"
                    return OrderResult(order_id="o1", state="verified", must_succeed=True, must_fail=True)
                case b"restore":
                    self.now = "free"
                    return OrderResult(order_id="o2", state="verified", must_succeed=True)
                case b"refuse":
                    return OrderResult(order_id="", state="refused", refusal="unsigned")
            raise RuntimeError("nft is gone")

    Enforcer.registry.pop("isolation", None)
    return Cut


@dataclass
class Pc:
    """One agent in a thread of this process."""

    collector: Collector
    platform: Platform
    identity: Identity
    sensor: Any
    hand: Any
    cut: Any

    def __post_init__(self) -> None:
        self.runtime: Runtime | None = None
        self.thread: threading.Thread | None = None

    def start(self) -> None:
        self.runtime = Runtime(
            self.platform,
            self.identity,
            sensor_kinds={self.sensor.name: self.sensor},
            enforcer_kinds={"hand": self.hand, "isolation": self.cut},
            beat_s=0.1,
        )
        self.thread = threading.Thread(target=self.runtime.run, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        if self.runtime and self.thread:
            self.runtime.stop()
            self.thread.join(15)
            assert not self.thread.is_alive()
            self.runtime = None

    def command(self, letter: bytes) -> None:
        until(lambda: getattr(self.sensor, "feed", -1) >= 0)
        os.write(self.sensor.feed, letter)

    def events(self) -> list[AnyEvent]:
        seen: dict[int, list[AnyEvent]] = {}
        for batch in self.collector.of(Batch):
            seen[batch.first_seq] = decode_events(zstandard.ZstdDecompressor().decompress(batch.body))
        return [event for events in seen.values() for event in events]

    def wait(self, kind: type[Any], **fields: Any) -> Any:
        def found() -> Any:
            return next(
                (
                    event
                    for event in self.events()
                    if isinstance(event, kind)
                    and all(getattr(event, name) == value for name, value in fields.items())
                ),
                None,
            )

        return until(found)

    def status(self) -> Status | None:
        return read_status(self.platform.run)

    def policy(self, generation: int, **changes: Any) -> None:
        document = seal_bundle(bundle(generation, **changes), [self.collector.city.policy])
        self.collector.bundle, self.collector.generation = document, generation


@pytest.fixture
def pc(tmp_path: Path) -> Iterator[Pc]:
    with running() as collector:
        platform = Platform(state=tmp_path / "state", run=tmp_path / "run")
        identity = Identity.load_or_make(platform.state)
        target = Target(collector.city.curve.public, fingerprint(collector.city.root.public))
        enrol(identity, target, address="127.0.0.1", port=collector.ports["enrol"])
        pc = Pc(collector, platform, identity, make_sensor("devices"), make_enforcer(), make_isolation())
        try:
            yield pc
        finally:
            pc.stop()


ENFORCE = {"devices": {"*": Setting("enforce")}}


def test_a_whole_run(pc: Pc) -> None:
    """Start, observe, policy, block, stop; every step is an event at the collector, in order."""
    pc.start()
    pc.wait(AgentStarted, after_crash=False)
    pc.wait(MediaMounted, source="opened1")
    pc.command(b"d")
    assert pc.wait(DeviceAttached).action == "allowed"
    pc.policy(3, settings=ENFORCE, rules=(rule(),))
    applied = pc.wait(AgentPolicyApplied, generation=3)
    assert (applied.action, applied.zone) == ("observed", "unassigned")
    pc.command(b"d")
    blocked = pc.wait(DeviceBlocked)
    assert (blocked.action, blocked.rules, blocked.port) == ("blocked", (), "1-1")
    attached = pc.wait(DeviceAttached, action="blocked")
    assert attached.rules == ("r1",), (
        "the violation is told once: by the event, not by the record of its block"
    )
    assert attached.policy.startswith("3:")
    assert attached.zone == "unassigned"
    pc.stop()
    assert [type(event) for event in pc.events()][-1] is AgentStopped
    assert pc.hand.cleaned
    assert not pc.cut.cleaned


def test_the_last_good_policy_holds_without_a_collector(pc: Pc) -> None:
    pc.start()
    pc.policy(4, settings=ENFORCE, rules=(rule(),))
    pc.wait(AgentPolicyApplied, generation=4)
    pc.stop()
    pc.collector.stop()
    pc.start()
    until(lambda: (status := pc.status()) and status.policy_generation == 4)
    assert pc.hand.applied == [4, 4]
    pc.command(b"d")
    pc.collector.start()
    pc.wait(DeviceBlocked)


def test_a_refused_policy_leaves_the_last_good_one(pc: Pc) -> None:
    pc.start()
    pc.policy(5)
    pc.wait(AgentPolicyApplied, generation=5)
    foreign = seal_bundle(bundle(6), [new_sign_pair()])
    pc.collector.push("control", PolicyBundle(generation=6, document=foreign))
    refused = pc.wait(AgentPolicyApplied, action="failed")
    assert (refused.refusal, refused.generation, refused.policy.partition(":")[0]) == ("foreign", 6, "5")
    assert pc.wait(AgentHealth, code="bundle_refused").raised
    kept = msgspec.msgpack.decode((pc.platform.state / BUNDLE_FILE).read_bytes(), type=Signed)
    assert kept == pc.collector.bundle


def test_a_kept_policy_that_was_changed_is_not_used(pc: Pc) -> None:
    pc.platform.state.mkdir(exist_ok=True)
    path = pc.platform.state / BUNDLE_FILE
    path.write_bytes(msgspec.msgpack.encode(seal_bundle(bundle(9), [new_sign_pair()])))
    path.chmod(0o600)
    pc.start()
    pc.wait(AgentHealth, code="bundle_refused")
    assert pc.runtime
    assert pc.runtime.view is None
    assert path.with_name(f"{BUNDLE_FILE}.refused").exists()


def test_expired_policy_stays_in_force_and_is_told(pc: Pc) -> None:
    pc.start()
    now = pc.platform.now_us()
    pc.policy(2, expires_us=now + 2_000_000, settings=ENFORCE, rules=(rule(),))
    pc.wait(AgentPolicyApplied, generation=2)
    pc.wait(AgentHealth, code="bundle_expired")
    pc.command(b"d")
    pc.wait(DeviceBlocked)


def test_a_control_that_is_off_is_neither_sensed_nor_enforced(pc: Pc) -> None:
    pc.start()
    pc.policy(2, settings={"devices": {"*": Setting("off")}})
    pc.wait(AgentPolicyApplied, generation=2)
    until(lambda: (status := pc.status()) and status.sensors == {"fed_devices": "off"})
    assert pc.hand.cleaned
    pc.policy(3)
    pc.wait(MediaMounted, source="opened2")


def test_what_fails_closed_stays_when_the_agent_stops(pc: Pc) -> None:
    pc.start()
    pc.policy(2, settings={"devices": {"*": Setting("enforce", "closed")}})
    pc.wait(AgentPolicyApplied, generation=2)
    pc.stop()
    assert not pc.hand.cleaned


# -- what fails --------------------------------------------------------------------------------------------------------


def test_an_overflow_is_reported_and_the_state_read_again(pc: Pc) -> None:
    pc.start()
    pc.command(b"o")
    dropped = pc.wait(AgentDropped, reason="sensor_overflow")
    assert dropped.source == "fed_devices"
    pc.wait(MediaMounted, source="recovered")
    pc.wait(AgentHealth, code="sensor_overflow.fed_devices")


def test_a_sensor_that_raises_is_restarted(pc: Pc) -> None:
    pc.start()
    pc.command(b"x")
    failed = pc.wait(AgentHealth, code="sensor_failed.fed_devices")
    assert "broken on purpose" in failed.detail
    pc.wait(MediaMounted, source="opened2")
    pc.command(b"d")
    pc.wait(DeviceAttached)


def test_an_unsupported_sensor_is_not_running_and_says_why(pc: Pc) -> None:
    pc.sensor.unsupported = True
    pc.start()
    pc.wait(AgentHealth, code="sensor_unsupported.fed_devices")
    status = until(pc.status)
    assert "no pipe here" in status.sensors["fed_devices"]
    pc.sensor.unsupported = False
    assert pc.runtime
    pc.runtime.reload()
    pc.wait(AgentHealth, code="sensor_unsupported.fed_devices", raised=False)


def test_an_enforcer_that_fails_is_named_and_ends_nothing(pc: Pc) -> None:
    pc.hand.breaks = True
    pc.start()
    pc.policy(2, settings=ENFORCE)
    applied = pc.wait(AgentPolicyApplied, generation=2)
    assert applied.action == "failed"
    assert "no such table" in applied.detail
    pc.wait(AgentHealth, code="enforcer_failed.hand")
    pc.hand.ticks.append(DeviceAttached(time_us=-1))
    pc.command(b"d")
    pc.wait(DeviceAttached)


def test_health_events_of_parts_become_codes(pc: Pc) -> None:
    pc.start()
    pc.hand.ticks.append(AgentHealth(time_us=1, code="gate_dead", raised=True, detail="exit 9"))
    pc.wait(AgentHealth, code="gate_dead", raised=True)
    until(lambda: any("gate_dead" in beat.health for beat in pc.collector.of(Heartbeat)))
    pc.hand.ticks.append(AgentHealth(time_us=1, code="gate_dead", raised=False))
    pc.wait(AgentHealth, code="gate_dead", raised=False)


def test_a_policy_that_breaks_is_a_rule_error_and_events_are_still_kept(
    pc: Pc, monkeypatch: pytest.MonkeyPatch
) -> None:
    pc.start()
    pc.policy(2)
    pc.wait(AgentPolicyApplied, generation=2)
    monkeypatch.setattr(PolicyView, "match", lambda *_: 1 / 0)
    pc.command(b"d")
    pc.wait(DeviceAttached)
    pc.wait(AgentHealth, code="rule_error")


def test_a_crash_is_noticed_at_the_next_start(pc: Pc) -> None:
    (pc.platform.state / "running").write_text("x")
    pc.start()
    pc.wait(AgentStarted, after_crash=True)
    pc.stop()
    pc.start()
    until(
        lambda: (
            [event.after_crash for event in pc.events() if isinstance(event, AgentStarted)] == [True, False]
        )
    )


def test_only_one_agent_runs(pc: Pc) -> None:
    pc.start()
    with pytest.raises(RefusedError, match="another agent"):
        Runtime(pc.platform, pc.identity, sensor_kinds={}, enforcer_kinds={})


# -- orders ------------------------------------------------------------------------------------------------------------


def test_isolation_and_restore_are_carried_out_told_and_recorded(pc: Pc) -> None:
    pc.start()
    pc.policy(2, issued_us=5_000_000_000_000_000)
    pc.wait(AgentPolicyApplied)
    pc.collector.push("control", OrderDelivery(document=Signed(b"isolate")))
    (result,) = pc.collector.wait_for(OrderResult)
    assert (result.order_id, result.state) == ("o1", "verified")
    isolated = pc.wait(AgentIsolated)
    assert (isolated.action, isolated.must_succeed, isolated.must_fail) == ("observed", True, True)
    assert pc.cut.asked == [5_000_000_000_000_000]
    until(lambda: pc.collector.of(Heartbeat)[-1].isolation == "isolated")
    assert pc.collector.of(Heartbeat)[-1].isolation_order == "o1"
    pc.collector.push("control", OrderDelivery(document=Signed(b"restore")))
    pc.wait(AgentRestored, order_id="o2")
    until(lambda: pc.collector.of(Heartbeat)[-1].isolation == "free")


@pytest.mark.parametrize(("body", "state"), [(b"refuse", "refused"), (b"break", "failed")])
def test_an_order_that_fails_is_told_too(pc: Pc, body: bytes, state: str) -> None:
    pc.start()
    pc.collector.wait_for(Heartbeat)
    pc.collector.push("control", OrderDelivery(document=Signed(body)))
    (result,) = pc.collector.wait_for(OrderResult)
    assert result.state == state
    assert pc.wait(AgentIsolated).action == "failed"


def test_a_local_release_is_reported_by_the_running_agent(pc: Pc) -> None:
    pc.start()
    pc.wait(AgentStarted)
    leave_report(pc.platform.state, AgentRestored(time_us=1, order_id="o9", by_code=True))
    (pc.platform.state / "reports/0.event").write_bytes(b"garbage")
    assert pc.runtime
    pc.runtime.reload()
    assert pc.wait(AgentRestored).order_id == "o9"
    until(lambda: not list((pc.platform.state / "reports").iterdir()))


# -- the clock ---------------------------------------------------------------------------------------------------------

S = 1_000_000


def test_clock_steps_are_seen_and_drift_is_not() -> None:
    watch = ClockWatch(1000 * S, 10 * S)
    assert watch.check(1001 * S, 11 * S) is None
    assert watch.check(1003 * S, 12 * S) is None  # slewed by a second
    assert watch.check(503 * S, 13 * S) == ("clock_back", -501 * S)
    assert watch.check(504 * S, 14 * S) is None
    assert watch.check(1005 * S, 15 * S) == ("clock_forward", 500 * S)


def test_clock_behind_the_last_run_is_seen_at_start() -> None:
    watch = ClockWatch(1000 * S, 10 * S, last_wall_us=2000 * S)
    assert watch.check(1000 * S, 10 * S) == ("clock_back", -1000 * S)
    assert watch.check(1001 * S, 11 * S) is None


def test_a_clock_set_back_is_told(pc: Pc, monkeypatch: pytest.MonkeyPatch) -> None:
    pc.start()
    pc.wait(AgentStarted)
    real = Platform.now_us
    monkeypatch.setattr(Platform, "now_us", lambda self: real(self) - 3600 * S)
    event = pc.wait(AgentHealth, code="clock_back")
    assert event.raised
    assert "-3600" in event.detail
