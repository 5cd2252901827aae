"""What the resident agent tells on the PC itself: ``status.json`` in the run directory, for ``sekisho-agent status``."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from protocol.text import Lang, Text

STATUS_FILE = "status.json"


class Complaint(Struct, frozen=True):
    """A health code that is raised."""

    code: str
    severity: str
    ja: str
    en: str
    detail: str


class Status(Struct, frozen=True, kw_only=True):
    """State of the agent as it was measured at ``updated_us`` (UTC µs)."""

    agent_id: str
    version: str
    pid: int
    started_us: int
    updated_us: int
    city: str
    zone: str = ""
    section: str = ""
    policy_generation: int = 0
    policy_digest: str = ""
    collector: str = "unreachable"
    """``connected`` or ``unreachable``."""
    isolation: str = "free"
    isolation_order: str = ""
    spool_depth: int = 0
    spool_last: int = 0
    spool_acknowledged: int = 0
    spool_bytes: int = 0
    spool_dropped: int = 0
    controls: dict[str, str] = {}
    """control → enforce | observe | off | unsupported."""
    sensors: dict[str, str] = {}
    enforcers: dict[str, dict[str, str]] = {}
    health: tuple[Complaint, ...] = ()
    counters: dict[str, int] = {}


def write_status(run: Path, status: Status) -> None:
    """Write it whole or not at all; only the owner can read it. Raises OSError."""
    temporary = run / f".{STATUS_FILE}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(status))
    temporary.replace(run / STATUS_FILE)


def read_status(run: Path) -> Status | None:
    """The last status, or None when no agent ever wrote one since boot. Raises OSError, msgspec.DecodeError."""
    try:
        raw = (run / STATUS_FILE).read_bytes()
    except FileNotFoundError:
        return None
    return msgspec.json.decode(raw, type=Status)


def is_running(status: Status) -> bool:
    """Tell whether the process that wrote the status still lives."""
    try:
        os.kill(status.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


TITLE = Text("端末 {id}（{city} / {zone}）", "PC {id} ({city} / {zone})")
LINES = (
    ("collector", Text("収集サーバー", "collector")),
    ("policy", Text("方針", "policy")),
    ("isolation", Text("隔離", "isolation")),
    ("spool", Text("未送信の記録", "events not yet sent")),
)
WORDS = {
    "connected": Text("接続中", "connected"),
    "unreachable": Text("接続できません", "unreachable"),
    "free": Text("なし", "none"),
    "isolated": Text("隔離中", "isolated"),
    "enforce": Text("遮断", "enforce"),
    "observe": Text("監視のみ", "observe"),
    "off": Text("停止", "off"),
    "unsupported": Text("非対応", "unsupported"),
    "running": Text("動作中", "running"),
    "standby": Text("待機中", "standing by"),
}
SOUND = Text("異常はありません。", "Nothing is wrong.")


def as_text(status: Status, lang: Lang) -> str:
    """The status for a person."""

    def word(name: str) -> str:
        return WORDS[name].say(lang) if name in WORDS else name

    values = {
        "collector": word(status.collector),
        "policy": f"{status.policy_generation} {status.policy_digest[:12]}".strip(),
        "isolation": f"{word(status.isolation)} {status.isolation_order}".strip(),
        "spool": str(status.spool_depth),
    }
    lines = [TITLE.say(lang, id=status.agent_id, city=status.city, zone=status.zone or "-")]
    lines += [f"  {text.say(lang)}: {values[key]}" for key, text in LINES]
    lines += [f"  {control}: {word(mode)}" for control, mode in status.controls.items()]
    for complaint in status.health:
        text = complaint.ja if lang == "ja" else complaint.en
        lines.append(f"  ! [{complaint.code}] {text} {complaint.detail}".rstrip())
    return "\n".join([*lines, *([] if status.health else [f"  {SOUND.say(lang)}"])])
