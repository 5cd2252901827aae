"""Tells the people at the PC what was refused, and why: on the desktop, else on their terminals, else in a log file.

Equal refusals are one notice with a count, shown again ever more rarely; one person gets a few notices a minute.
"""

from __future__ import annotations

import os
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from agent import notice_text
from agent.notice_link import NoticeLink
from agent.notice_text import Words
from agent.notice_wire import Show, Told
from agent.platform.posture_ports import FIRST_PERSON, Person
from agent.refusals import Refusal
from protocol.events import Event, NoticeShown

if TYPE_CHECKING:
    from agent.platform import Platform

AGAIN_S = (60.0, 600.0, 3600.0)
"""How long after the first, second and every later showing the same refusal is shown again."""
PER_MINUTE = 6
"""Notices a person gets in a minute; the rest waits and is counted meanwhile."""
MAX_WAITING, MAX_OPEN, MAX_CHILDREN = 200, 256, 8
LOG_DIR, LOG_BYTES = "notices", 64 * 1024
Asked = Callable[[int, int], None]
"""(user id, number of the refusal): the button was pressed."""


class _Waiting(Struct):
    """A refusal that is to be shown; ``shown`` is its count when it was shown last."""

    refusal: Refusal
    due_s: float
    shown: int = 0
    times: int = 0


class _Open(Struct, frozen=True):
    """A notice that was handed to a child."""

    person: Person
    refusal: Refusal
    words: Words
    count: int


class Notices:
    """Decides what is shown when and to whom. ``emit`` takes ``notice.shown`` events, ``asked`` a pressed button."""

    def __init__(self, platform: Platform, emit: Callable[[Event], None], asked: Asked) -> None:
        self._platform, self._emit, self._asked = platform, emit, asked
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._granted: deque[tuple[Refusal, int]] = deque(maxlen=MAX_WAITING)
        self._links: dict[int, NoticeLink] = {}
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._recent: dict[int, deque[float]] = {}
        self._last_id = 0

    def put(self, refusal: Refusal, now_s: float) -> None:
        """Have a refusal shown, or its count when it was shown already."""
        waiting = self._waiting.get(refusal.number)
        if waiting is None:
            self._waiting[refusal.number] = _Waiting(refusal, now_s)
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem(last=False)
        else:
            waiting.refusal = refusal

    def put_granted(self, refusal: Refusal, uid: int) -> None:
        """Tell an applicant that a policy now permits it."""
        self._granted.append((refusal, uid))

    def tick(self, now_s: float) -> None:
        """Show what is due."""
        for uid, link in list(self._links.items()):
            if link.is_late:
                self._end(uid, link.close())
        due = [one for one in self._waiting.values() if one.due_s <= now_s and one.refusal.count > one.shown]
        if not due and not self._granted:
            return
        people = {person.uid: person for person in self._platform.who_is_there()}
        while self._granted:
            refusal, uid = self._granted.popleft()
            self._show(people.get(uid) or self._absent(uid), refusal, notice_text.granted(refusal))
        for one in due:
            self._show_due(one, people, now_s)

    def _show_due(self, one: _Waiting, people: dict[int, Person], now_s: float) -> None:
        refusal = one.refusal
        readers = [person for person in people.values() if refusal.is_for(person.uid)]
        if not readers and refusal.owners:
            readers = [self._absent(uid) for uid in refusal.owners if uid == 0 or uid >= FIRST_PERSON]
        if any(not self._may_show(person.uid, now_s) for person in readers):
            return
        one.due_s = now_s + AGAIN_S[min(one.times, len(AGAIN_S) - 1)]
        one.times, one.shown = one.times + 1, refusal.count
        words = notice_text.refused(refusal)
        for person in readers:
            self._recent.setdefault(person.uid, deque(maxlen=PER_MINUTE)).append(now_s)
            self._show(person, refusal, words)
        if not readers:
            self._tell(Person(-1, -1, ""), refusal, "log", refusal.count)

    def _may_show(self, uid: int, now_s: float) -> bool:
        recent = self._recent.get(uid)
        return recent is None or len(recent) < PER_MINUTE or now_s - recent[0] >= 60.0  # noqa: PLR2004 - a minute

    def _absent(self, uid: int) -> Person:
        """Somebody who is not logged on at a screen: the log is read later."""
        return Person(uid, uid, self._platform.processes.user(uid))

    def _show(self, person: Person, refusal: Refusal, words: Words) -> None:
        self._last_id += 1
        shown = _Open(person, refusal, words, refusal.count)
        link = self._link(person) if person.bus or person.terminals else None
        if link is not None and link.show(Show(self._last_id, words.summary, words.body, words.button)):
            self._open[self._last_id] = shown
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        else:
            self._log(shown)

    def _link(self, person: Person) -> NoticeLink | None:
        link = self._links.get(person.uid)
        if link is None and len(self._links) < MAX_CHILDREN:
            try:
                link = self._links[person.uid] = NoticeLink(person)
            except OSError:
                return None
        return link

    # -- what the children say -----------------------------------------------------------------------------------------

    def filenos(self) -> list[int]:
        """Descriptors to wait on."""
        return [link.fileno() for link in self._links.values()]

    def read(self, fileno: int) -> None:
        """Hear a child."""
        for uid, link in list(self._links.items()):
            if link.fileno() == fileno:
                told, ended = link.read()
                if ended:
                    self._end(uid, told)
                else:
                    self._heard(told)

    def _end(self, uid: int, told: list[Told]) -> None:
        del self._links[uid]
        self._heard(told)

    def _heard(self, told: list[Told]) -> None:
        for one in told:
            shown = self._open.get(one.id)
            if shown is None:
                continue
            if one.what == "shown":
                self._tell(shown.person, shown.refusal, one.channel or "desktop", shown.count)
            elif one.what == "failed":
                del self._open[one.id]
                self._log(shown)
            elif one.what == "closed":
                del self._open[one.id]
                self._tell(shown.person, shown.refusal, "desktop", shown.count, acknowledged=True)
            else:
                self._asked(shown.person.uid, shown.refusal.number)

    def _tell(
        self, person: Person, refusal: Refusal, channel: str, count: int, *, acknowledged: bool = False
    ) -> None:
        self._emit(
            NoticeShown(
                time_us=self._platform.now_us(),
                user=person.user,
                channel=channel,
                about=refusal.about,
                rule=refusal.rule,
                acknowledged=acknowledged,
                count=count,
            )
        )

    def _log(self, shown: _Open) -> None:
        """The last way: a file that only this user can read. A full /run loses the text, not the refusal."""
        folder = self._platform.run / LOG_DIR
        try:
            folder.mkdir(mode=0o711, exist_ok=True)
            folder.chmod(0o711)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(folder / f"{shown.person.uid}.log", flags, 0o400)
            try:
                if os.geteuid() == 0:
                    os.fchown(fd, shown.person.uid, -1)
                if os.fstat(fd).st_size > LOG_BYTES:
                    os.ftruncate(fd, 0)
                os.write(fd, f"{shown.words.summary}\n{shown.words.body}\n\n".encode())
            finally:
                os.close(fd)
        except OSError:
            return
        self._tell(shown.person, shown.refusal, "log", shown.count)

    def close(self) -> None:
        """End the children."""
        for link in self._links.values():
            link.close()
        self._links.clear()
