"""The PC's own protection: packet filter, anti-virus, encryption, updates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, ClassVar

import msgspec

from agent.platform.posture_ports import Posture, PostureProbe, UpdateCount
from agent.sensors import POLLIN, Sensor
from policies.model import Control, Rule
from protocol.events import Event, PostureReported
from protocol.text import Text

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.view import PolicyView

DAY_US, HOUR_US = 86_400_000_000, 3_600_000_000
COUNT_LIMIT_US = 120_000_000
"""A count that takes longer is given up."""
_AGES_H, _AGES_DAYS = (24, 72, 168, 336), (7, 30, 60, 90)
"""Ages grow by themselves: only passing one of these is a change."""

Terms = tuple[str, tuple[Rule, ...]]
"""Zone and rules by which a posture is judged."""


def coarse(posture: Posture) -> Posture:
    """The posture with its ages as steps, so that two can be compared."""

    def step(age: int, steps: tuple[int, ...]) -> int:
        return -1 if age < 0 else sum(age > one for one in steps)

    return msgspec.structs.replace(
        posture,
        signature_age_h=step(posture.signature_age_h, _AGES_H),
        update_age_days=step(posture.update_age_days, _AGES_DAYS),
        updates_pending=min(posture.updates_pending, 1),
    )


def _terms(policy: PolicyView) -> Terms | None:
    """None where a posture is only watched."""
    if policy.setting("posture").mode != "enforce":
        return None
    return policy.zone.name, tuple(rule for rule in policy.bundle.rules if rule.family == "posture")


class PostureSensor(Sensor):
    """Looks once a minute; tells at the start, when it or its terms changed, and once a day."""

    name: ClassVar[str] = "posture"
    control: ClassVar[Control] = "posture"
    emits: ClassVar[tuple[type[Event], ...]] = (PostureReported,)
    doc: ClassVar[Text] = Text(
        "端末自身の守りを 1 分ごとに確認し、開始時・変化時・1 日 1 回報告します。受信を制限するファイアウォール（nftables・ufw・firewalld。本ソフトの表は除く）、"
        "ウイルス対策（ClamAV の定義ファイルの日時まで）、/・/home・/var のディスク暗号化（dm-crypt）、更新の経過日数と未適用件数、再起動待ち、自動実行を見ます。",
        "Looks at the PC's own protection once a minute and reports at the start, on a change and once a day: packet filter for"
        " incoming connections (nftables, ufw, firewalld; not our own table), anti-virus (ClamAV with the age of its signatures),"
        " disk encryption below /, /home and /var (dm-crypt), age of updates and how many wait, restart due, autorun.",
    )
    limits: ClassVar[Text] = Text(
        "旧式の iptables-legacy の規則、ディスク自体の暗号化（SED）や ZFS・fscrypt は判定できません。ClamAV 以外の製品は動作の有無だけを、"
        "更新は apt の端末だけを確認します。未適用件数は端末が最後に取得した一覧によります。",
        "Not judged: rules of iptables-legacy, self-encrypting disks, ZFS, fscrypt. Of other products than ClamAV only the running"
        " process is seen; updates are known for apt only, and those that wait by the lists the PC fetched last.",
    )
    example: ClassVar[Event] = PostureReported(
        time_us=1_790_000_000_000_000,
        firewall="on",
        firewall_by="ufw",
        antivirus="ClamAV 1.4.3",
        antivirus_running=True,
        signature_age_h=9,
        encryption="full",
        update_age_days=3,
        updates_pending=0,
        os="Debian GNU/Linux 12 (bookworm)",
        autorun="off",
    )
    period_s: ClassVar[float] = 60.0

    def __init__(self, platform: Platform) -> None:
        super().__init__(platform)
        self._probe: PostureProbe | None = None
        self._told: Posture | None = None
        self._told_us = 0
        self._terms: Terms | None = None
        self._count: UpdateCount | None = None
        self._counted_us = 0
        self._stamp: tuple[int, ...] = ()
        self._pending = -1

    def open(self) -> Iterable[Event]:
        self._probe = self.platform.posture_probe()
        self._told = None
        return self.tick()

    def follow(self, policy: PolicyView) -> Iterable[Event]:
        """Where a posture can cut the PC off, it is told again to be judged by the new terms."""
        terms = _terms(policy)
        if terms == self._terms:
            return ()
        self._terms, self._told = terms, None
        return self._look()

    def filenos(self) -> Iterable[tuple[int, int]]:
        return () if self._count is None else ((self._count.fileno(), POLLIN),)

    def read(self, fileno: int) -> Iterable[Event]:
        if self._count is None:
            return ()
        found = self._count.result()
        if found is None:
            return ()
        self._pending = found
        self._end_count()
        return self._look()

    def tick(self) -> Iterable[Event]:
        if self._probe is not None:
            self._count_updates(self._probe, self.platform.now_us())
        return self._look()

    def close(self) -> None:
        self._end_count()
        self._probe = None

    def _look(self) -> Iterator[Event]:
        if self._probe is None:
            return
        now_us = self.platform.now_us()
        posture = self._probe.measure(now_us, self._pending)
        same = self._told is not None and coarse(posture) == coarse(self._told)
        if same and 0 <= now_us - self._told_us < DAY_US:
            return
        self._told, self._told_us = posture, now_us
        yield PostureReported(time_us=now_us, **msgspec.structs.asdict(posture))

    def _count_updates(self, probe: PostureProbe, now_us: int) -> None:
        """Count anew when something changed, at most once an hour; a clock that was set back does not matter."""
        since = abs(now_us - self._counted_us)
        if self._count is not None:
            if since > COUNT_LIMIT_US:
                self._end_count()
            return
        stamp = probe.updates_stamp()
        if stamp != self._stamp and since >= HOUR_US:
            self._stamp, self._counted_us = stamp, now_us
            self._count = probe.count_updates()

    def _end_count(self) -> None:
        if self._count is not None:
            self._count.close()
            self._count = None
