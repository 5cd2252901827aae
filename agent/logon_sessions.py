"""Which sessions are open, and how failures are folded. Pure: logons come in, what is to be told goes out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from agent.platform.posture_ports import Logon

MAX_SESSIONS, MAX_FAILURES = 512, 256
HOLD_US = 3_000_000
"""How long a logon of sshd waits for its login record: with a terminal there is one, and it tells more."""
LIVE_US = 30_000_000
FOLD_US = 60_000_000
Told = tuple[Logon, int]
"""A logon, and how long the session was in seconds (-1: it began, or that is not known)."""


class SessionTable:
    """Open sessions by terminal; those of sshd without one by the process that wrote of them."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Logon] = OrderedDict()
        self._held: list[Logon] = []
        self._doubles: dict[str, None] = {}
        """Sessions whose logon the authentication log may tell a second time."""
        self._quiet: set[str] = set()
        self._live_us = 0

    def __len__(self) -> int:
        return len(self._open)

    def know(self, logon: Logon) -> None:
        """A session that was open before anybody looked; it is not told, and nor is it if it turns out to be gone."""
        self._put(logon)
        self._quiet.add(logon.session)

    def take(self, logon: Logon, now_us: int) -> Iterator[Told]:
        """Take one that succeeded or ended, or a start of the PC."""
        if logon.what == "booted":
            for key in list(self._open):
                yield self._end(key, logon.time_us)
            self._held.clear()
        elif logon.what == "ended":
            yield from self._ended(logon)
        elif not logon.session:
            yield logon, -1  # su and sudo: a change of account inside a session
        elif logon.session.startswith("sshd:"):
            if not self._is_double(logon) and len(self._held) < MAX_SESSIONS:
                self._held.append(replace(logon, time_us=min(logon.time_us, now_us)))
        else:
            yield from self._began(logon)

    def due(self, now_us: int, alive: Callable[[int], bool]) -> Iterator[Told]:
        """What time brings: held logons that got no login record, sessions whose process is gone."""
        waiting, self._held = self._held, []
        for logon in waiting:
            if now_us - logon.time_us < HOLD_US:
                self._held.append(logon)
            else:
                if logon.session in self._open:
                    yield self._end(logon.session, logon.time_us)
                self._put(logon)
                yield logon, -1
        if not 0 <= now_us - self._live_us < LIVE_US:
            self._live_us = now_us
            for key, logon in list(self._open.items()):
                if logon.pid > 0 and not alive(logon.pid):
                    is_quiet = logon.session in self._quiet
                    ended = self._end(key, now_us)
                    if not is_quiet:
                        yield ended

    def _began(self, logon: Logon) -> Iterator[Told]:
        if logon.terminal in self._open:
            if self._open[logon.terminal].session == logon.session:
                return  # login and the display manager write the same record twice
            yield self._end(logon.terminal, logon.time_us)
        same = next((one for one in self._held if _same_way(one, logon)), None)
        if same is not None:
            self._held.remove(same)
        elif logon.service == "sshd":
            self._doubles[logon.session] = None
        self._put(logon)
        yield logon, -1

    def _ended(self, logon: Logon) -> Iterator[Told]:
        held = next((one for one in self._held if one.session == logon.session), None)
        if held is not None:
            self._held.remove(held)
            yield held, -1
            yield replace(held, what="ended", time_us=logon.time_us), _seconds(held.time_us, logon.time_us)
            return
        key = logon.session if logon.session in self._open else logon.terminal
        if key and key in self._open:
            yield self._end(key, logon.time_us)

    def _is_double(self, logon: Logon) -> bool:
        for key in self._doubles:
            there = next((one for one in self._open.values() if one.session == key), None)
            if there is not None and _same_way(there, logon):
                del self._doubles[key]
                return True
        return False

    def _put(self, logon: Logon) -> None:
        self._open[_key(logon)] = logon
        if len(self._open) > MAX_SESSIONS:
            oldest = self._open.popitem(last=False)[1].session
            self._doubles.pop(oldest, None)
            self._quiet.discard(oldest)

    def _end(self, key: str, time_us: int) -> Told:
        began = self._open.pop(key)
        self._quiet.discard(began.session)
        self._doubles.pop(began.session, None)
        return replace(began, what="ended", time_us=time_us), _seconds(began.time_us, time_us)


def _key(logon: Logon) -> str:
    """Sessions of the authentication log have no terminal of their own, whatever a line says."""
    return logon.session if logon.session.startswith("sshd:") else logon.terminal


def _same_way(one: Logon, other: Logon) -> bool:
    """Whether two sources tell of one logon: same person, same origin, at nearly the same time."""
    near = abs(one.time_us - other.time_us) <= 2 * HOLD_US
    return near and one.user == other.user and (one.address == other.address or one.host == other.host)


def _seconds(begin_us: int, end_us: int) -> int:
    return max(0, end_us - begin_us) // 1_000_000


class _Fold(Struct):
    logon: Logon
    until_us: int
    more: int = 0


class FailureFold:
    """The first of equal failures is told at once, those of the minute after it as one."""

    def __init__(self) -> None:
        self._folds: OrderedDict[tuple[str, ...], _Fold] = OrderedDict()

    def take(self, logon: Logon, now_us: int) -> Iterator[tuple[Logon, int]]:
        """Take a failure; yields what is to be told, with its count."""
        key = (logon.user, logon.service, logon.host, logon.address, logon.reason, logon.target_user)
        fold = self._folds.get(key)
        if fold is not None:
            fold.more += 1
            fold.logon = logon
            return
        self._folds[key] = _Fold(logon, now_us + FOLD_US)
        yield logon, 1
        if len(self._folds) > MAX_FAILURES:
            yield from self._close(next(iter(self._folds)))

    def due(self, now_us: int) -> Iterator[tuple[Logon, int]]:
        """Folds whose minute is over; a clock that was set back ends them too."""
        for key in [key for key, fold in self._folds.items() if not 0 < fold.until_us - now_us <= FOLD_US]:
            yield from self._close(key)

    def _close(self, key: tuple[str, ...]) -> Iterator[tuple[Logon, int]]:
        fold = self._folds.pop(key)
        if fold.more:
            yield fold.logon, fold.more
