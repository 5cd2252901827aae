"""What the collector noticed by itself (``findings`` table) as alerts, and gaps that turn out to be explained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.detection.rules import Flag
from collector.registers.models import Alert, Finding
from collector.registers.store import Store
from collector.search.events import EventQuery, EventSearch
from policies.model import Level
from protocol.events import AgentDropped
from protocol.text import Text

PREFIX = "finding:"
"""Rule ids of alerts made of findings; the finding's name follows."""
GAP = PREFIX + "gap"
AT_ONCE = 500

TITLES: dict[str, tuple[Level, Text]] = {
    "gap": ("high", Text("イベントの番号が抜けています", "Events are missing from a PC's numbering")),
    "chain_restarted": (
        "high",
        Text("端末の記録の連鎖が最初からやり直されました", "A PC began its chain of evidence anew"),
    ),
    "forked_batch": (
        "critical",
        Text("端末の記録の連鎖が二つに分かれています", "A PC's chain of evidence forks"),
    ),
    "replayed_batch": (
        "critical",
        Text("端末が過去の番号から送り直しました", "A PC went back in its numbering"),
    ),
    "clone": ("critical", Text("同じ鍵を二台の端末が使っています", "Two machines use one PC's key")),
    "bad_event": (
        "high",
        Text("端末から読めないイベントが届きました", "A PC sent events that cannot be read"),
    ),
    "bad_digest": (
        "high",
        Text("端末の記録の要約値が内容と一致しません", "A batch's digest is not that of its content"),
    ),
    "bad_signature": ("critical", Text("端末の記録の署名が正しくありません", "A batch's signature is wrong")),
    "unknown_key": (
        "medium",
        Text("登録のない鍵で接続がありました", "Somebody connected with an unknown key"),
    ),
    "revoked_key": ("high", Text("失効した鍵で接続がありました", "Somebody connected with a revoked key")),
    "quarantined_key": ("medium", Text("隔離中の端末から接続がありました", "A quarantined PC connected")),
    "journal_corrupt": (
        "critical",
        Text(
            "証跡の保管庫のファイルが壊れ、新しいファイルで続けています",
            "A journal file was damaged and set aside; a new one goes on",
        ),
    ),
    "disk_full": (
        "critical",
        Text(
            "ディスクに空きがなく、証跡を受け取れません（端末側で保持中）",
            "The disk takes no more evidence; the PCs keep it meanwhile",
        ),
    ),
    "clock_back": ("high", Text("収集サーバーの時計が戻されました", "The collector's clock was set back")),
    "child_restarted": (
        "high",
        Text(
            "収集サーバーの処理が止まり、再起動しました",
            "A process of the collector died and was started again",
        ),
    ),
    "journal_damaged": ("critical", Text("保存した証跡の一部が読めません", "Stored evidence cannot be read")),
    "journal_rewound": (
        "critical",
        Text("証跡の保管庫が以前の状態に戻っています", "The journal is older than it was"),
    ),
    "bad_permit_request": (
        "medium",
        Text("端末から届いた許可申請の内容が正しくありません", "A PC sent an application that cannot be one"),
    ),
    "too_many_permit_requests": (
        "high",
        Text(
            "端末からの許可申請が多すぎるため、受け付けていません",
            "A PC sends more applications than anybody needs; they are not taken",
        ),
    ),
    "correlation_full": (
        "medium",
        Text(
            "相関規則の記憶が上限に達し、一部を数えていません",
            "A correlation has more groups or events than it can keep; some were not counted",
        ),
    ),
    "policy_refused": (
        "critical",
        Text(
            "配布中の方針を読めず、前の方針で検知を続けています",
            "The policy in force was refused; the one before goes on",
        ),
    ),
}
"""Finding → severity and title; any other is a refusal, shown by its name."""

EXPLAINED = Text(
    "端末が、記録を保持しきれず破棄した範囲として報告しました。",
    "The PC reported that it had to give these events up.",
)


def waiting(session: Session) -> list[Finding]:
    """Findings without an alert, oldest first, a few hundred at a time."""
    query = select(Finding).where(Finding.alerted.is_(False)).order_by(Finding.id).limit(AT_ONCE)
    return list(session.scalars(query))


def flag_of(agent_id: str, name: str, detail: dict[str, Any], time_us: int) -> Flag:
    """A finding on its way to an alert; ``action`` failed: nobody could prevent it, somebody must look."""
    other: tuple[Level, Text] = (
        "medium",
        Text(f"通信を拒否しました（{name}）", f"A PC was refused ({name})"),
    )
    level, title = TITLES.get(name, other)
    return Flag(
        rule_id=PREFIX + name,
        level=level,
        title_ja=title.ja,
        title_en=title.en,
        agent_id=agent_id,
        action="failed",
        kind=f"finding.{name}",
        seq=None,
        event=detail,
        event_us=time_us,
    )


# -- gaps ------------------------------------------------------------------------------------------------------------


def covered(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> bool:
    """Tell whether ``first`` … ``last`` lies wholly within ``ranges`` (both ends included)."""
    for low, high in sorted(ranges):
        if low <= first <= high:
            first = high + 1
    return first > last


def explain_gaps(store: Store, search: EventSearch, agent_id: str | None = None) -> int:
    """Close every open gap alert that ``agent.dropped`` events account for; returns how many.

    ``agent_id`` None = of every PC. Idempotent: it looks at what is stored and indexed only. An alert that counts
    several gaps is closed when all of them are accounted for.
    """
    with store.read() as session:
        still_open = list(_open_gaps(session, agent_id))
    closed = []
    for agent in sorted({alert.agent_id for alert in still_open}):
        ranges = _given_up(search, agent)
        if not ranges:
            continue
        with store.read() as session:
            gaps = list(
                session.scalars(select(Finding).where(Finding.agent_id == agent, Finding.name == "gap"))
            )
        closed += [one.id for one in still_open if one.agent_id == agent and _explained(one, gaps, ranges)]
    if closed:
        with store.write() as session:
            for alert in session.scalars(select(Alert).where(Alert.id.in_(closed))):
                alert.action = "observed"
                alert.event = {**alert.event, "note_ja": EXPLAINED.ja, "note_en": EXPLAINED.en}
    return len(closed)


def _open_gaps(session: Session, agent_id: str | None) -> Iterator[Alert]:
    query = select(Alert).where(Alert.rule_id == GAP, Alert.action == "failed")
    if agent_id is not None:
        query = query.where(Alert.agent_id == agent_id)
    yield from session.scalars(query)


def _given_up(search: EventSearch, agent_id: str) -> list[tuple[int, int]]:
    query = EventQuery(agent=agent_id, kinds=frozenset({"agent.dropped"}), limit=100_000)
    events = (found.event for found in search.run(query))
    return [span for event in events if isinstance(event, AgentDropped) for span in event.ranges]


def _explained(alert: Alert, gaps: list[Finding], ranges: list[tuple[int, int]]) -> bool:
    details = [alert.event]
    if alert.summary:
        details += [gap.detail for gap in gaps if alert.event_us <= gap.time_us <= alert.last_us]
    return all(covered(int(one["first"]), int(one["last"]), ranges) for one in details)
