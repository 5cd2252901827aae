"""Health: one table of what can be wrong, how bad it is, and how long before it is worth showing.

A code is stable: it is the name in ``agent.health`` events, in heartbeats and in ``status``. ``code.part`` is a code
about one part (``sensor_unsupported.media``); the table has its head. Only the main thread touches :class:`Health`.
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from msgspec import Struct

from protocol.events import AgentHealth
from protocol.text import Text

Severity = Literal["info", "warning", "critical"]


class Condition(Struct, frozen=True, kw_only=True):
    """What a code means. ``grace_s``: how long it must last to be shown; ``behind``: codes that explain it away."""

    severity: Severity
    text: Text
    grace_s: float = 0.0
    behind: tuple[str, ...] = ()


_ROWS: tuple[tuple[str, Severity, float, str, str, tuple[str, ...]], ...] = (
    (
        "collector_unreachable", "warning", 30,
        "収集サーバーに接続できません。記録は端末内に保管されます。ネットワークと収集サーバーを確認してください。",
        "The collector cannot be reached; events are kept on the PC. Check the network and the collector.", (),
    ),
    (
        "not_admitted", "critical", 0,
        "収集サーバーがこの端末の鍵を受け付けません。登録状況を確認してください。",
        "The collector does not admit this PC's key. Check its registration.", (),
    ),
    (
        "clone_quarantined", "critical", 0,
        "同じ鍵を使う端末が他にあります。この端末の状態フォルダーを消去し、登録し直してください。",
        "Another PC uses the same key. Wipe this PC's state folder and enrol it again.", (),
    ),
    (
        "data_refused", "critical", 0,
        "収集サーバーが記録の受け取りを拒否しました。情報システム担当に連絡してください。",
        "The collector refused this PC's events. Tell IT staff.", (),
    ),
    (
        "bad_frames", "warning", 0,
        "収集サーバーから不正なメッセージを受け取り、破棄しました。",
        "Malformed messages from the collector were refused.", (),
    ),
    (
        "no_policy", "warning", 60,
        "方針をまだ受け取っていません。監視のみ行い、遮断はしません。",
        "No policy yet: everything is observed and nothing is stopped.", ("collector_unreachable", "not_admitted"),
    ),
    (
        "bundle_expired", "warning", 0,
        "方針の有効期限が切れています。最後の方針で動作を続けます。",
        "The policy has expired; the last good one stays in force.", (),
    ),
    (
        "bundle_refused", "critical", 0,
        "届いた方針を拒否しました。最後の正しい方針で動作を続けます。",
        "A policy was refused; the last good one stays in force.", (),
    ),
    (
        "trust_refused", "critical", 0,
        "信頼の起点の変更を拒否しました。",
        "A change of the trust root was refused.", (),
    ),
    (
        "rule_error", "warning", 0,
        "判定できない規則があります。",
        "A rule could not be evaluated.", (),
    ),
    (
        "spool_full", "warning", 0,
        "端末内の記録領域が一杯になり、重要度の低い記録から破棄しました。",
        "The spool is full; the least important events were given up.", ("disk_full",),
    ),
    (
        "spool_corrupt", "critical", 0,
        "端末内の記録が壊れていたため退避し、新しく作り直しました。",
        "The spool was damaged; it was set aside and a new one continues.", (),
    ),
    (
        "disk_full", "critical", 0,
        "ディスクの空きがなく、記録を保存できません。遮断は続けています。空き容量を作ってください。",
        "The disk is full and events cannot be kept. Enforcement goes on. Free some space.", (),
    ),
    (
        "clock_back", "critical", 0,
        "端末の時計が戻されました。",
        "The PC's clock was set back.", (),
    ),
    (
        "clock_forward", "warning", 0,
        "端末の時計が進められました。",
        "The PC's clock was set forward.", (),
    ),
    (
        "sensor_unsupported", "warning", 0,
        "この端末では監視できない項目があります。",
        "This PC cannot sense one of the controls.", (),
    ),
    (
        "sensor_failed", "critical", 0,
        "監視が異常終了し、再起動を試みています。",
        "A sensor failed and is being restarted.", (),
    ),
    (
        "sensor_overflow", "warning", 0,
        "監視が追いつかず、一部の事象を失いました。状態を読み直しました。",
        "A sensor could not keep up and lost events; the state was read again.", (),
    ),
    (
        "sensor_bounded", "info", 0,
        "監視対象が多いため、一部は定期的な走査で検知します。",
        "There is more to watch than this PC can; the rest is looked at now and then.", (),
    ),
    (
        "sensor_garbled", "info", 0,
        "読み取れない、または偽造されたデータを受け取り、破棄しました。",
        "Data that is malformed or forged was refused.", (),
    ),
    (
        "enforcer_unsupported", "warning", 0,
        "この端末では遮断できない項目があります。",
        "This PC cannot enforce one of the controls.", (),
    ),
    (
        "enforcer_failed", "critical", 0,
        "遮断の適用に失敗しました。",
        "Enforcement of a control failed.", (),
    ),
    (
        "gate_dead", "critical", 0,
        "実行制御が停止しています。",
        "The execution gate is dead.", (),
    ),
    (
        "tampered", "critical", 0,
        "本ソフトウェアの設定が第三者に変更されました。",
        "Somebody changed what the agent had set.", (),
    ),
    (
        "counter_closed", "warning", 0,
        "この端末の窓口を開けません。利用者は許可を申請できません。",
        "The counter of this PC could not be opened: its users cannot apply for permits.", (),
    ),
    (
        "reception_failed", "warning", 0,
        "利用者への通知または窓口の処理に失敗しました。監視と遮断は続けています。",
        "A notice to users or the counter failed; sensing and enforcement go on.", (),
    ),
    (
        "isolated", "info", 0,
        "この端末は命令により隔離されています。",
        "This PC is isolated by order.", (),
    ),
)  # fmt: skip
"""Code, severity, grace in seconds, Japanese, English, codes that explain it away."""

CONDITIONS = {
    code: Condition(severity=severity, text=Text(ja, en), grace_s=grace, behind=behind)
    for code, severity, grace, ja, en, behind in _ROWS
}
OTHER = Condition(severity="warning", text=Text("部品からの通知です。", "Reported by a part of the agent."))
"""For codes a platform part made up itself; their detail says what it is."""


def condition(code: str) -> Condition:
    """Look up a code, or the head of a dotted one."""
    return CONDITIONS.get(code) or CONDITIONS.get(code.partition(".")[0]) or OTHER


class Raised(Struct):
    """A code that is raised. ``since_s`` is monotonic; ``until_s`` 0 = until cleared."""

    since_s: float
    detail: str
    until_s: float = 0.0
    shown: bool = False


class Health:
    """Codes raised now, and counters of what happened since the start."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self._raised: dict[str, Raised] = {}
        self._gone: list[str] = []

    def raise_(self, code: str, detail: str, *, now_s: float, hold_s: float = 0.0) -> None:
        """Raise a code; with ``hold_s`` it clears by itself that long after the last time it was raised.

        A condition (no ``hold_s``) counts once until it clears, a happening every time.
        """
        until = now_s + hold_s if hold_s else 0.0
        there = self._raised.get(code)
        if there is None or hold_s:
            self.counters[code] += 1
        if there is None:
            self._raised[code] = Raised(now_s, detail, until)
        else:
            there.detail, there.until_s = detail, until

    def clear(self, code: str) -> None:
        """Clear a code; nothing happens when it was not raised."""
        there = self._raised.pop(code, None)
        if there and there.shown:
            self._gone.append(code)

    def is_raised(self, code: str) -> bool:
        """Tell whether a code is raised, shown or not."""
        return code in self._raised

    def shown(self) -> dict[str, Raised]:
        """Codes worth showing, in the order they were raised."""
        return {code: there for code, there in self._raised.items() if there.shown}

    def changes(self, *, now_s: float, time_us: int) -> list[AgentHealth]:
        """Let grace and hold times pass; returns an event for every code that came into sight or went away."""
        for code, there in list(self._raised.items()):
            if there.until_s and now_s >= there.until_s:
                self.clear(code)
        events = [AgentHealth(time_us=time_us, code=code, raised=False) for code in self._gone]
        self._gone.clear()
        for code, there in self._raised.items():
            rule = condition(code)
            hidden = any(other in self._raised for other in rule.behind)
            if not there.shown and not hidden and now_s - there.since_s >= rule.grace_s:
                there.shown = True
                events.append(AgentHealth(time_us=time_us, code=code, raised=True, detail=there.detail))
        return events
