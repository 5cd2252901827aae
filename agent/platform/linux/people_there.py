"""Who is logged on to the PC, and by which way they can be told something: desktop bus, terminals."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from agent.platform.linux.utmp import BOOT_TIME, DEAD_PROCESS, SIZE, USER_PROCESS, parse_records
from agent.platform.posture_ports import FIRST_PERSON, Person

UTMP, RUNTIME, PASSWD = "run/utmp", "run/user", "etc/passwd"
MAX_PEOPLE, MAX_TERMINALS = 64, 4
_UTMP_BYTES = 1024 * SIZE


def people_there(root: Path = Path("/")) -> list[Person]:
    """Those with a session: a runtime folder that systemd-logind made, or an entry in utmp(5)."""
    accounts = read_accounts(root)
    by_name = {name: uid for uid, (name, _) in accounts.items()}
    terminals: dict[int, list[str]] = {}
    for name, line in _open_lines(root):
        uid = by_name.get(name)
        if uid is not None:
            found = terminals.setdefault(uid, [])
            if _is_own_terminal(root / "dev" / line, uid) and len(found) < MAX_TERMINALS:
                found.append(f"/dev/{line}")
    uids = {*terminals, *_with_runtime_folder(root)}
    people = []
    for uid in sorted(uids)[:MAX_PEOPLE]:
        name, gid = accounts.get(uid, ("", uid))
        people.append(Person(uid, gid, name, _bus(root, uid), tuple(terminals.get(uid, ()))))
    return people


def read_accounts(root: Path) -> dict[int, tuple[str, int]]:
    """User id → (login name, group) of passwd(5); directory services are not asked, that may block."""
    accounts: dict[int, tuple[str, int]] = {}
    try:
        lines = (root / PASSWD).read_text("utf-8", "replace").splitlines()
    except OSError:
        return accounts
    for line in lines:
        fields = line.split(":")
        if len(fields) == 7 and all(one.isascii() and one.isdigit() for one in fields[2:4]):
            accounts.setdefault(int(fields[2]), (fields[0], int(fields[3])))
    return accounts


def _open_lines(root: Path) -> list[tuple[str, str]]:
    """(user, terminal) of utmp."""
    try:
        with (root / UTMP).open("rb") as file:
            data = file.read(_UTMP_BYTES)
    except OSError:
        return []
    found: dict[str, str] = {}
    for record in parse_records(data):
        if record.type == USER_PROCESS and record.user:
            found[record.line] = record.user
        elif record.type == DEAD_PROCESS:
            found.pop(record.line, None)
        elif record.type == BOOT_TIME:
            found.clear()
    return [(user, line) for line, user in found.items()]


def _is_own_terminal(path: Path, uid: int) -> bool:
    """A character device that belongs to the user; utmp can hold any name."""
    if ".." in path.parts:
        return False
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISCHR(found.st_mode) and found.st_uid == uid


def _with_runtime_folder(root: Path) -> list[int]:
    try:
        names = os.listdir(root / RUNTIME)  # noqa: PTH208
    except OSError:
        return []
    return [int(name) for name in names if name.isascii() and name.isdigit() and int(name) >= FIRST_PERSON]


def _bus(root: Path, uid: int) -> str:
    """Socket of the user's own message bus; not one that somebody else put there."""
    path = root / RUNTIME / str(uid) / "bus"
    try:
        found = path.lstat()
    except OSError:
        return ""
    return str(path) if stat.S_ISSOCK(found.st_mode) and found.st_uid == uid else ""
