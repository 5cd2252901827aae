"""The agent's side towards people at the PC: writes down refusals, has notices shown, takes applications."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from agent.counter import Counter
from agent.counter_wire import MAX_DAYS, Answer, Ask, Question, Refusals, Taken
from agent.health import Health
from agent.judge import control_of
from agent.notices import Notices
from agent.platform.ports import UnsupportedError
from agent.platform.state_file import load_state, save_state
from agent.refusals import Kept, Refusal, RefusalBook
from protocol.events import ActorEvent, Event, PermitRequested, decode_event
from protocol.refusal import UNREADABLE, RefusedError

if TYPE_CHECKING:
    from agent.platform import Platform
    from policies.model import Rule
    from policies.view import PolicyView

STATE_FILE = "refusals.json"
SAVE_S, HOLD_S = 10.0, 600.0
LISTED = 50
ASKS_PER_HOUR = 10
MAX_USERS = 256
BUTTON_DAYS = 30
BUTTON_PURPOSE = "通知の「許可を申請」から（用途は申請者に確認してください）/ by the button of the notice: ask the applicant what for"


class Reception:
    """One for the PC. ``emit`` takes the events about it; nothing here raises into the agent's loop."""

    def __init__(self, platform: Platform, health: Health, emit: Callable[[Event], None]) -> None:
        self._platform, self._health, self._emit = platform, health, emit
        self._book = RefusalBook(load_state(platform.state / STATE_FILE, Kept))
        self._notices = Notices(platform, emit, self._by_button)
        self._asks: OrderedDict[int, deque[float]] = OrderedDict()
        self._counter: Counter | None = None
        self._dirty, self._saved_s = False, 0.0

    def open(self) -> None:
        """Open the counter; without it notices are still shown."""
        try:
            self._counter = Counter(self._platform.run, self.answer)
            self._health.clear("counter_closed")
        except OSError as error:
            self._health.raise_("counter_closed", str(error), now_s=time.monotonic())

    # -- what happens on the PC ----------------------------------------------------------------------------------------

    def judged(self, event: Event, view: PolicyView | None) -> None:
        """Take every event once it was judged; those that a rule stopped (or should have) are written down."""
        if event.action in {"blocked", "failed"} and event.rules and view is not None and control_of(event):
            self._safely(partial(self._write_down, event, view))

    def _write_down(self, event: Event, view: PolicyView) -> None:
        rule = _stopping(view, event.rules)
        if rule is not None:
            refusal = self._book.add(event, rule, self._owners(event))
            self._dirty = True
            self._notices.put(refusal, time.monotonic())

    def _owners(self, event: Event) -> tuple[int, ...]:
        """The user whose process it was; else who is logged on; nobody is: everybody at the PC."""
        if isinstance(event, ActorEvent) and event.uid >= 0:
            return (event.uid,)
        try:
            return tuple(person.uid for person in self._platform.who_is_there())
        except (OSError, UnsupportedError):
            return ()

    def follow(self, view: PolicyView) -> None:
        """A policy came into force: tell applicants whose thing it permits."""
        self._safely(partial(self._find_granted, view))

    def _find_granted(self, view: PolicyView) -> None:
        now_us = self._platform.now_us()
        for refusal in self._book.waiting():
            if _permits(view, refusal, now_us):
                refusal.granted = self._dirty = True
                for uid in refusal.requests:
                    self._notices.put_granted(refusal, uid)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def filenos(self) -> list[int]:
        """Descriptors to wait on."""
        return [*(self._counter.filenos() if self._counter else ()), *self._notices.filenos()]

    def read(self, fileno: int) -> None:
        """Serve a descriptor that became ready."""
        if self._counter is not None:
            self._safely(partial(self._counter.read, fileno))
        self._safely(partial(self._notices.read, fileno))

    def tick(self, now_s: float) -> None:
        """Once a second."""
        if self._counter is not None:
            self._safely(self._counter.tick)
        self._safely(partial(self._notices.tick, now_s))
        if self._dirty and now_s - self._saved_s >= SAVE_S:
            self._save(now_s)

    def close(self) -> None:
        """Close up, keep the book."""
        if self._counter is not None:
            self._counter.close()
        self._notices.close()
        if self._dirty:
            self._save(time.monotonic())

    def _safely(self, work: Callable[[], None]) -> None:
        """What goes wrong with people's side must not end the checkpoint."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - see above
            why = f"{type(error).__name__}: {error}"
            self._health.raise_("reception_failed", why, now_s=time.monotonic(), hold_s=HOLD_S)

    def _save(self, now_s: float) -> None:
        self._saved_s, self._dirty = now_s, False
        try:
            save_state(self._platform.state / STATE_FILE, self._book.kept())
        except OSError as error:
            self._health.raise_("disk_full", f"{STATE_FILE}: {error}", now_s=now_s)

    # -- applications --------------------------------------------------------------------------------------------------

    def answer(self, uid: int, question: Question) -> Answer:
        """Answer a user of the PC. Raises RefusedError."""
        if isinstance(question, Ask):
            return self._apply(uid, question)
        return Refusals(tuple(one.line(uid) for one in self._book.of(uid, LISTED)))

    def _apply(self, uid: int, question: Ask) -> Taken:
        refusal = self._book.get(question.number, uid)
        if refusal is None:
            raise RefusedError("not_found", f"no refusal {question.number}")
        if not refusal.wanted:
            raise RefusedError("wrong_state", f"no permit can be given for refusal {question.number}")
        if refusal.granted:
            raise RefusedError("already_there", f"{question.number} is permitted already")
        if uid in refusal.requests:
            return Taken(refusal.requests[uid], again=True)
        purpose = question.purpose.strip()
        if not purpose or not purpose.replace("\n", " ").isprintable() or not 0 < question.days <= MAX_DAYS:
            raise RefusedError("bad_value", "say what for, in printable characters, and for how many days")
        self._count_ask(uid)
        request = refusal.requests[uid] = secrets.token_hex(8)
        self._dirty = True
        self._emit(
            PermitRequested(
                time_us=self._platform.now_us(),
                request=request,
                user=(self._platform.processes.user(uid) or f"uid:{uid}")[:64],
                wanted=refusal.wanted,
                subject=refusal.subject,
                purpose=purpose,
                days=question.days,
                refused=refusal.rule,
            )
        )
        return Taken(request, again=False)

    def _count_ask(self, uid: int) -> None:
        """Raises RefusedError for who applies too often."""
        now_s = time.monotonic()
        asks = self._asks.setdefault(uid, deque(maxlen=ASKS_PER_HOUR))
        self._asks.move_to_end(uid)
        if len(self._asks) > MAX_USERS:
            self._asks.popitem(last=False)
        if len(asks) == ASKS_PER_HOUR and now_s - asks[0] < 3600.0:  # noqa: PLR2004 - an hour
            raise RefusedError("overloaded", f"more than {ASKS_PER_HOUR} applications in an hour")
        asks.append(now_s)

    def _by_button(self, uid: int, number: int) -> None:
        try:
            self._apply(uid, Ask(number, BUTTON_PURPOSE, BUTTON_DAYS))
        except RefusedError as refusal:
            self._health.counters[f"counter.{refusal.name}"] += 1


def _stopping(view: PolicyView, ids: tuple[str, ...]) -> Rule | None:
    """The rule to name: the first that blocks, else the first."""
    rules = []
    for fired in ids:
        try:
            rules.append(view.rule(fired))
        except KeyError:
            continue
    return next((rule for rule in rules if rule.effect == "block"), rules[0] if rules else None)


def _permits(view: PolicyView, refusal: Refusal, now_us: int) -> bool:
    """Whether the policy would permit now what was refused then."""
    if not refusal.event:
        return False
    try:
        return view.enrich(decode_event(refusal.event), now_us).permit == "granted"
    except UNREADABLE:
        return False
