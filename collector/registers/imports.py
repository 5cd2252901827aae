"""CSV files for the registers: every row is checked, the good ones are staged as one batch, the bad ones are listed.

Taken are UTF-8 (with or without BOM) and CP932, as spreadsheets of city halls write them, with column titles in English
or Japanese. Nothing reaches a register before the batch is applied (``batches``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

import msgspec
from msgspec import Struct
from sqlalchemy.orm import Session

from collector.registers import batches
from collector.registers.assets import AssetKind, list_assets
from collector.registers.csv_file import cells_of, text_of
from collector.registers.models_releases import ChangeBatch
from policies.machines import normal_mac
from policies.model import PermitKind, Subject
from policies.ordinance_parts import Role
from policies.permits import is_specific
from protocol.refusal import RefusedError
from protocol.text import Text

Register = Literal["assets", "people"]
MOST_BAD = 1000
"""Bad rows that are listed; the rest is counted."""
LONGEST, LONGEST_ID, LONGEST_NOTE = 256, 64, 2000

TITLES: Mapping[Register, Mapping[str, tuple[str, ...]]] = {
    "assets": {
        "id": ("資産番号", "番号"), "kind": ("種類", "種別"), "section": ("課", "所属"), "note": ("備考",),
        "active": ("有効",), "device_id": ("機器識別子",), "vendor_id": ("ベンダーID",), "product_id": ("製品ID",),
        "serial": ("製造番号", "シリアル番号"), "media_id": ("媒体識別子",), "fs_uuid": ("ファイルシステムUUID",),
        "mac": ("MACアドレス",),
    },
    "people": {
        "id": ("ログイン名", "職員番号"), "name": ("氏名",), "section": ("課", "所属"), "roles": ("職", "役職"),
        "active": ("有効",),
    },
}  # fmt: skip
"""Register → column → its Japanese titles."""
NEEDED: Mapping[Register, tuple[str, ...]] = {"assets": ("id", "kind"), "people": ("id", "name")}
SUBJECT_KIND: Mapping[str, PermitKind] = {"device": "device", "medium": "medium"}

_HEX4 = re.compile(r"[0-9a-fA-F]{4}")
_WORDS: Mapping[str, str] = {
    "機器": "device", "媒体": "medium", "端末": "pc", "プリンタ": "printer", "サーバー": "server", "通信機器": "network",
    "その他": "other",
}  # fmt: skip
_YES, _NO = {"", "1", "yes", "true", "○", "有効", "はい"}, {"0", "no", "false", "×", "無効", "いいえ"}

WHY: Mapping[str, Text] = {
    "cells": Text("列の数が見出しと違います（{found}、見出しは {wanted}）", "{found} cells, the title line has {wanted}"),
    "missing": Text("空です", "is empty"),
    "too_long": Text("長すぎます（{most} 文字まで）", "too long, at most {most} characters"),
    "control_character": Text("制御文字があります", "holds a control character"),
    "unknown_kind": Text("種類は {known} のどれかです", "kind is one of {known}"),
    "bad_form": Text("書き方が違います（例: {example}）", "not in the right form, e.g. {example}"),
    "yes_or_no": Text("1 か 0 で書いてください", "write 1 or 0"),
    "unknown_role": Text("条例の職ではありません: {role}（{known}）", "no office of an ordinance: {role} ({known})"),
    "unspecific": Text("これだけでは、ひとつに決まりません（{fields}）", "does not name one certain thing ({fields})"),
    "twice_in_file": Text("{line} 行目と同じです", "the same as line {line}"),
    "other_entry": Text("台帳の {other} と同じ物です", "the register has this as {other}"),
}  # fmt: skip
"""Name of what is wrong with a row → words."""


class BadRow(Struct, frozen=True):
    """A row that was left out: its line (from 1), column, stable name of what is wrong, and both languages."""

    line: int
    column: str
    name: str
    ja: str
    en: str


class Staged(Struct, frozen=True, kw_only=True):
    """The outcome of reading a file. ``left_out``: bad rows in all."""

    batch: ChangeBatch
    left_out: int


class _Wrong(Exception):
    def __init__(self, name: str, column: str = "", **values: object) -> None:
        super().__init__(name)
        self.name, self.column, self.values = name, column, values


class Row(NamedTuple):
    """A checked row: key and entry as ``batches`` keeps them, and what makes it one thing (to find it twice)."""

    key: str
    entry: dict[str, Any]
    identity: str


def stage_file(
    session: Session, register: Register, name: str, data: bytes, *, created_by: str, now_us: int
) -> Staged:
    """Read a file and stage its good rows; the register is not touched. Must run in a write transaction.

    Raises RefusedError ``oversized``, ``bad_value`` for a file that cannot be read at all (encoding, title line).
    """
    read = _Reader(session, register)
    changes = list(read.changes(text_of(data)))
    batch = batches.stage(
        session,
        changes,
        origin="import",
        created_by=created_by,
        now_us=now_us,
        name=name[:LONGEST],
        unchanged=read.unchanged,
        bad=[msgspec.to_builtins(one) for one in read.bad],
    )
    return Staged(batch=batch, left_out=read.left_out)


class _Reader:
    """Rows of one file for one register."""

    def __init__(self, session: Session, register: Register) -> None:
        self._session, self._register = session, register
        self._check: Callable[[dict[str, str]], Row] = _asset if register == "assets" else _person
        self._owners = _asset_owners(session) if register == "assets" else {}
        self._lines: dict[str, int] = {}
        self.unchanged = self.left_out = 0
        self.bad: list[BadRow] = []

    def changes(self, text: str) -> Iterator[batches.Change]:
        """What each good row changes. Raises RefusedError ``bad_value``."""
        rows = cells_of(text)
        _, titles = next(rows, (1, []))
        columns = _columns(self._register, titles)
        for line, cells in rows:
            if not any(cell.strip() for cell in cells):
                continue
            try:
                change = self._change(line, columns, cells)
            except _Wrong as wrong:
                self._leave_out(line, wrong)
                continue
            if change is None:
                self.unchanged += 1
            else:
                yield change

    def _change(self, line: int, columns: list[str], cells: list[str]) -> batches.Change | None:
        if len(cells) != len(columns):
            raise _Wrong("cells", found=len(cells), wanted=len(columns))
        row = self._check(_stripped(columns, cells))
        for mark in filter(None, (f"id {row.key}", row.identity)):
            first = self._lines.setdefault(mark, line)
            if first != line:
                raise _Wrong("twice_in_file", line=first)
        if (other := self._owners.get(row.identity, row.key)) != row.key:
            raise _Wrong("other_entry", other=other)
        before = batches.entry(self._session, self._register, row.key)
        after = {**(before or {}), **row.entry}
        for name, value in {"section": "", "note": "", "roles": [], "active": True}.items():
            if name in batches.REGISTERS[self._register].columns:
                after.setdefault(name, value)
        if after == before:
            return None
        return batches.Change(number=line, register=self._register, key=row.key, before=before, after=after)

    def _leave_out(self, line: int, wrong: _Wrong) -> None:
        self.left_out += 1
        if len(self.bad) < MOST_BAD:
            text = WHY[wrong.name]
            ja, en = text.say("ja", **wrong.values), text.say("en", **wrong.values)
            self.bad.append(BadRow(line, wrong.column, wrong.name, ja, en))


def _columns(register: Register, titles: list[str]) -> list[str]:
    """Columns by the title line. Raises RefusedError ``bad_value`` for one unknown, doubled or missing."""
    names = {name: name for name in TITLES[register]}
    names |= {title: name for name, ours in TITLES[register].items() for title in ours}
    found = []
    for title in titles:
        word = title.strip()
        name = names.get(word) or names.get(word.lower())
        if name is None:
            near = difflib.get_close_matches(word, names, n=1)
            hint = f"did you mean {near[0]}?" if near else "columns: " + ", ".join(TITLES[register])
            raise RefusedError("bad_value", f"unknown column {word[:LONGEST]!r} in the title line", hint)
        if name in found:
            raise RefusedError("bad_value", f"column {name} stands twice in the title line")
        found.append(name)
    if missing := [name for name in NEEDED[register] if name not in found]:
        raise RefusedError(
            "bad_value",
            f"the title line lacks {', '.join(missing)}",
            "columns: " + ", ".join(TITLES[register]),
        )
    return found


def _stripped(columns: list[str], cells: list[str]) -> dict[str, str]:
    row = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
    for name, value in row.items():
        most = {"id": LONGEST_ID, "note": LONGEST_NOTE, "roles": LONGEST_NOTE}.get(name, LONGEST)
        if len(value) > most:
            raise _Wrong("too_long", name, most=most)
        if not all(char.isprintable() or char in "\n\u3000" for char in value):
            raise _Wrong("control_character", name)
    return row


def _filled(row: dict[str, str], *names: str) -> None:
    for name in names:
        if not row[name]:
            raise _Wrong("missing", name)


def _active(row: dict[str, str]) -> dict[str, bool]:
    if "active" not in row:
        return {}
    word = row["active"].lower()
    if word not in _YES | _NO:
        raise _Wrong("yes_or_no", "active")
    return {"active": word in _YES}


def _asset(row: dict[str, str]) -> Row:
    _filled(row, "id", "kind")
    kind = _WORDS.get(row["kind"], row["kind"].lower())
    if kind not in get_args(AssetKind):
        raise _Wrong("unknown_kind", "kind", known=", ".join(get_args(AssetKind)))
    names = set(Subject.__struct_fields__) & row.keys()
    subject = {name: row[name] for name in sorted(names) if row[name]}
    for name in ("vendor_id", "product_id"):
        if name in subject and not _HEX4.fullmatch(subject[name]):
            raise _Wrong("bad_form", name, example="0781")
    if "mac" in subject:
        try:
            subject["mac"] = normal_mac(subject["mac"])
        except ValueError as error:
            raise _Wrong("bad_form", "mac", example="00:11:22:aa:bb:cc") from error
    if not subject or (
        kind in SUBJECT_KIND and not is_specific(SUBJECT_KIND[kind], msgspec.convert(subject, Subject))
    ):
        raise _Wrong(
            "unspecific", fields="device_id | vendor_id + product_id + serial | media_id | fs_uuid | mac"
        )
    entry = {"kind": kind, "subject": subject, **_active(row)}
    entry |= {name: row[name] for name in ("section", "note") if name in row}
    return Row(row["id"], entry, _identity(subject))


def _identity(subject: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={str(value).lower()}" for name, value in sorted(subject.items()))


def _asset_owners(session: Session) -> dict[str, str]:
    return {_identity(row.subject): row.id for row in list_assets(session)}


def _person(row: dict[str, str]) -> Row:
    _filled(row, "id", "name")
    entry: dict[str, Any] = {"name": row["name"], **_active(row)}
    if "section" in row:
        entry["section"] = row["section"]
    if "roles" in row:
        roles = sorted({one for one in re.split(r"[;、,\s]+", row["roles"]) if one})
        if unknown := [one for one in roles if one not in get_args(Role)]:
            raise _Wrong("unknown_role", "roles", role=unknown[0], known=", ".join(get_args(Role)))
        entry["roles"] = roles
    return Row(row["id"], entry, "")
