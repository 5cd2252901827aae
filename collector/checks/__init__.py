"""Whether a collector can run, and runs well: one function per question, each answers by itself.

A check never raises: what it cannot find out is its failure, with what to do next.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

from msgspec import Struct
from sqlalchemy.exc import SQLAlchemyError

from collector.checks import content, machine
from collector.checks.answer import NOTHING, Answer, Status
from collector.config import Layout
from collector.desk.site import SiteError
from protocol.refusal import UNREADABLE, RefusedError
from protocol.text import Text


class Finding(Struct, frozen=True):
    """Answer of one check: what, how it stands, where exactly, what to do next."""

    name: str
    status: Status
    title: Text
    detail: str = ""
    hint: Text = NOTHING


CHECKS: dict[str, tuple[Text, Callable[[Layout], Answer]]] = {
    "data_dir": (Text("データの場所の権限", "permissions of the data directory"), machine.data_dir),
    "own_key": (Text("収集サーバーの鍵", "the collector's key"), content.own_key),
    "stray_keys": (Text("署名鍵が置かれていないこと", "no signing keys lie here"), machine.stray_keys),
    "config": (Text("設定ファイル", "settings file"), machine.config),
    "control_db": (Text("管理データベース", "control database"), content.control_db),
    "trust": (Text("信頼の起点", "trust root"), content.trust),
    "journal": (Text("証跡の保管庫", "journal"), content.journal),
    "ports": (Text("ポート", "ports"), machine.ports),
    "disk": (Text("ディスクの空き", "disk space"), machine.disk),
    "clock": (Text("時計", "clock"), machine.clock),
    "policy": (Text("配布中の方針", "policy in force"), content.policy),
    "site_file": (Text("方針ファイル", "site file"), content.site_file),
    "file_limit": (Text("開けるファイルの数", "open files"), machine.file_limit),
    "accounts": (Text("操作者のアカウント", "operator accounts"), content.accounts),
}

_BROKEN = (SiteError, OSError, sqlite3.Error, SQLAlchemyError, *UNREADABLE)


def run_checks(layout: Layout) -> Iterator[Finding]:
    """Answer every check."""
    for name, (title, check) in CHECKS.items():
        try:
            status, detail, hint = check(layout)
        except RefusedError as error:
            yield Finding(name, "fail", title, error.detail, Text(error.hint, error.hint))
        except _BROKEN as error:
            yield Finding(name, "fail", title, f"{type(error).__name__}: {error}")
        else:
            yield Finding(name, status, title, detail, hint)
