"""Machines that show themselves on the LAN: one PC of each segment watches, as the collector says."""

from __future__ import annotations

import contextlib
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from msgspec import Struct

from agent.lan.frames import read_frame
from agent.lan.segments import Segment, segments_of
from agent.lan.switches import SwitchFinder
from agent.lan.table import NeighbourTable
from agent.lan.told import flood_event, own_event, seen_event, switch_event
from agent.platform.lan_ports import Capture, Lan, SwitchPort
from agent.platform.link_ports import Links
from agent.platform.state_file import load_state, save_state
from agent.sensors import POLLIN, Sensor
from policies.model import Control
from protocol.events import AgentHealth, Event, NeighbourFlood, NeighbourSeen
from protocol.refusal import RefusedError
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform

AT_ONCE, PER_SECOND = 256, 4000
"""Frames read in one go, and in one second; what comes beyond waits in the kernel or is dropped there, and counted."""
GARBLED = "sensor_garbled.neighbours"
GARBLED_S = 600.0
"""The code goes away so long after the last frame that could not be read."""


class Duty(Struct, frozen=True):
    """What the collector said last; kept over a restart, since the collector may be away then."""

    segments: tuple[str, ...] = ()


class _Watch(Struct):
    """One segment that is watched."""

    segment: Segment
    capture: Capture
    table: NeighbourTable
    taken: int = 0
    """Frames of this second."""


class NeighboursSensor(Sensor):
    """Watches the segments of this PC that are its duty, and stands by for the others."""

    name: ClassVar[str] = "neighbours"
    control: ClassVar[Control] = "neighbours"
    emits: ClassVar[tuple[type[Event], ...]] = (NeighbourSeen, NeighbourFlood)
    doc: ClassVar[Text] = Text(
        ja="同じセグメントに現れた機器を、ARP・NDP・DHCP・mDNSの最初の一つで検知します。各セグメントで一台だけが監視し、他は待機します。"
        "接続先のスイッチとポートもLLDP・CDPで調べます。",
        en="Sees a machine on the segment by the first ARP, NDP, DHCP or mDNS frame it sends. One PC of each segment watches, "
        "the others stand by. Finds out by LLDP and CDP which switch and port this PC hangs on.",
    )
    limits: ClassVar[Text] = Text(
        ja="ブロードキャストとマルチキャストを一つも出さない機器は見えません。MACだけでなく名前とDHCPの特徴まで写した機器は、"
        "元の機器と同時に別の場所に現れたときだけ分かります。大量の偽造フレームが続く間は、新しい機器を個別には報告しません。"
        "監視する端末がないセグメントは見えません。",
        en="A machine that sends no broadcast or multicast at all is not seen. One that copies name and DHCP fingerprint beside "
        "the MAC shows only by being in another place than the original. While a flood of forged frames lasts, new machines "
        "are counted, not reported one by one. A segment without a PC that runs the agent is not seen.",
    )
    example: ClassVar[Event] = NeighbourSeen(
        time_us=1_790_000_000_000_000,
        segment="10.20.1.0/24 00:00:5e:00:53:01",
        interface="eth0",
        mac="02:00:5e:00:53:66",
        randomised=True,
        ip="10.20.1.77",
        addresses=("10.20.1.77",),
        via="dhcp",
        hostname="tablet",
        fingerprint="1,3,6,15,26,28,51,58,59,43 android-dhcp-14",
        why="new",
    )
    period_s: ClassVar[float] = 1.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self.standby = True
        self._lan: Lan = platform.lan()
        self._links: Links | None = None
        self._duty = Duty()
        self._segments: tuple[Segment, ...] = ()
        self._own: frozenset[str] = frozenset()
        self._told: dict[str, Segment] = {}
        self._watches: dict[str, _Watch] = {}
        self._switches = SwitchFinder(self._lan)
        self._refused: Counter[str] = Counter()
        self._garbled_s = 0.0
        self._unanswered = 0
        """Seconds that a gateway has not told its MAC."""
        self._hostname = socket.gethostname()[:256]

    # -- the sensor's life -------------------------------------------------------------------------------------------

    def open(self) -> Iterable[Event]:
        """Raises UnsupportedError ``rtnetlink_unsupported`` or ``capture_unsupported``."""
        self._links = self.platform.links()
        self._duty = load_state(self._duty_file, Duty) or Duty()
        events = list(self._look())
        for segment in self._segments[:1]:
            if not self._watches:  # who stands by must be able to step in
                self._lan.capture(segment.interface).close()
        return events

    def close(self) -> None:
        for watch in self._watches.values():
            watch.capture.close()
        self._watches.clear()
        self._switches.close()
        if self._links is not None:
            self._links.close()
            self._links = None

    @property
    def _duty_file(self) -> Path:
        return self.platform.state / "neighbours.duty"

    def watch(self, segments: tuple[str, ...]) -> Iterable[Event]:
        """Open what is now this PC's duty, close what no longer is."""
        if segments != self._duty.segments:
            self._duty = Duty(segments)
            with contextlib.suppress(OSError):  # a full disk: after a restart the collector says it again
                save_state(self._duty_file, self._duty)
        self._take_posts()
        return ()

    def filenos(self) -> Iterable[tuple[int, int]]:
        """Links, switch finder, and the captures that have not had their share of this second."""
        found = [*(self._links.filenos() if self._links else ()), *self._switches.filenos()]
        found += [watch.capture.fileno() for watch in self._watches.values() if watch.taken < PER_SECOND]
        return [(fileno, POLLIN) for fileno in found]

    def read(self, fileno: int) -> Iterable[Event]:
        """Raises OverflowedError when changes of links were lost."""
        for watch in self._watches.values():
            if watch.capture.fileno() == fileno:
                return self._frames(watch)
        if fileno in self._switches.filenos():
            return [self._switch(interface, found) for interface, found in self._switches.heard()]
        if self._links is not None and self._links.changed():
            return self._look()
        return ()

    def recover(self) -> Iterable[Event]:
        return self._look()

    def tick(self) -> Iterable[Event]:
        """Floods, frames lost or refused; a gateway that was not known yet; the next look for a switch."""
        now_s = time.monotonic()
        events: list[Event] = []
        for watch in self._watches.values():
            watch.taken = 0
            if lost := watch.capture.lost():
                watch.table.flood.left_out("", "", lost, now_s)
            if told := watch.table.flood.tick(now_s):
                events.append(flood_event(watch.segment, told, self.platform.now_us()))
        events += self._garbled(now_s)
        if self._gateway_due():
            events += self._look()
        self._switches.tick(now_s)
        return events

    # -- where this PC is --------------------------------------------------------------------------------------------

    def _look(self) -> list[Event]:
        """Read links and gateways anew; reports this PC itself where it is new or has changed."""
        if self._links is None:
            return []
        before, state = self._segments, self._links.state()
        self._own = frozenset(link.mac for link in state.links if link.mac)
        self._segments = segments_of(state, self._lan.gateway_mac)
        self.segments = tuple(dict.fromkeys(one.id for one in self._segments if one.id))
        if self._segments != before:
            wired = [one.interface for one in self._segments if not one.wireless]
            self._switches.ask(wired, time.monotonic())
        self._take_posts()
        told, self._told = self._told, {one.interface: one for one in self._segments if one.id}
        now_us = self.platform.now_us()
        return [
            own_event(one, self._hostname, now_us)
            for name, one in self._told.items()
            if told.get(name) != one
        ]

    def _gateway_due(self) -> bool:
        """Whether to ask again for the MAC of a gateway: after 1, 2, 4 … seconds, then every 64."""
        self._unanswered = self._unanswered + 1 if any(not one.id for one in self._segments) else 0
        count = self._unanswered
        return count > 0 and (count & (count - 1) == 0 or count % 64 == 0)

    def _take_posts(self) -> None:
        """Bring the captures to the duty."""
        due = {one.interface: one for one in self._segments if one.id and one.id in self._duty.segments}
        for name in [name for name, watch in self._watches.items() if due.get(name) != watch.segment]:
            self._watches.pop(name).capture.close()
        for name, segment in due.items():
            if name not in self._watches:
                with contextlib.suppress(OSError):  # the interface went: rtnetlink says so next
                    self._watches[name] = _Watch(
                        segment, self._lan.capture(name), NeighbourTable(segment.mac)
                    )
        self.standby = not self._watches

    # -- events ------------------------------------------------------------------------------------------------------

    def _frames(self, watch: _Watch) -> Iterator[Event]:
        now_s, now_us = time.monotonic(), self.platform.now_us()
        for frame in watch.capture.frames(min(AT_ONCE, PER_SECOND - watch.taken)):
            watch.taken += 1
            try:
                seen = read_frame(frame)
            except RefusedError as refusal:
                self._refused[refusal.name] += 1
                continue
            if seen is None or (seen.mac in self._own and seen.mac != watch.segment.mac):
                continue
            if change := watch.table.take(seen, now_s):
                yield seen_event(watch.segment, change, now_us)

    def _switch(self, interface: str, found: SwitchPort) -> Event:
        segment = next((one.id for one in self._segments if one.interface == interface), "")
        return switch_event(segment, interface, found, self.platform.now_us())

    def _garbled(self, now_s: float) -> list[Event]:
        """Frames that were refused raise a code; their kinds and numbers are its detail."""
        raised = bool(self._garbled_s)
        if self._refused:
            detail = " ".join(f"{name}={count}" for name, count in sorted(self._refused.items()))
            self._refused.clear()
            self._garbled_s = now_s
            if not raised:
                return [AgentHealth(time_us=self.platform.now_us(), code=GARBLED, raised=True, detail=detail)]
        elif raised and now_s - self._garbled_s >= GARBLED_S:
            self._garbled_s = 0.0
            return [AgentHealth(time_us=self.platform.now_us(), code=GARBLED, raised=False)]
        return []
