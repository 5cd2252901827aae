"""Where readers put what they read: text, rows of tables, and how far they came."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from agent.scan.job import Limits, State
from agent.scan.labels import LabelFinder, normalise
from agent.scan.mynumber import Detector, kind_of_title

_WORSE: tuple[State, ...] = (
    "complete",
    "unreadable",
    "encrypted",
    "too_deep",
    "too_large",
    "too_slow",
    "gone",
)
_BLOCK = 1 << 16
_HEADER_ROWS = 8
"""A row that names the columns stands among the first ones."""


class Stop(BaseException):
    """A limit was reached: nothing more of this file is read. No ``Exception``, so that no library swallows it."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state: State = state


class Sink:
    """Collects findings of one file and counts what its limits allow."""

    def __init__(self, limits: Limits, marks: Iterable[tuple[str, tuple[str, ...]]]) -> None:
        self.limits = limits
        self.detector = Detector()
        self.labels = LabelFinder(marks)
        self.state: State = "complete"
        self._ends_s = time.monotonic() + limits.seconds
        self._expanded = 0
        self._entries = 0
        self._waiting: list[str] = []
        self._waiting_size = 0
        self._header: tuple[str, ...] = ()
        self._rows = 0

    def note(self, state: State) -> None:
        """Something could not be looked at; the worst of all is told."""
        if _WORSE.index(state) > _WORSE.index(self.state):
            self.state = state

    def spend(self, size: int) -> None:
        """So many bytes were unpacked. Raises Stop."""
        self._expanded += size
        if self._expanded > self.limits.expanded_bytes:
            raise Stop("too_large")
        if time.monotonic() > self._ends_s:
            raise Stop("too_slow")

    def entry(self) -> None:
        """One more member, part or page. Raises Stop."""
        self._entries += 1
        if self._entries > self.limits.entries:
            raise Stop("too_large")
        self.spend(0)

    def text(self, text: str) -> None:
        """Running text; may be cut anywhere."""
        self._waiting.append(text)
        self._waiting_size += len(text)
        if self._waiting_size >= _BLOCK:
            self._hand_on(final=False)

    def end(self) -> None:
        """A text or table ends here."""
        self._hand_on(final=True)
        self.detector.end_of_text()
        self._header, self._rows = (), 0

    def row(self, cells: Sequence[str]) -> None:
        """One row of a table."""
        clean = [normalise(cell).replace("\t", " ").strip() for cell in cells]
        self._rows += 1
        if self._rows <= _HEADER_ROWS and not any(cell.isdigit() for cell in clean):
            titles = sum(kind_of_title(cell) != "" for cell in clean)
            if titles > sum(kind_of_title(cell) != "" for cell in self._header):
                self._header = tuple(clean)
        self.labels.look("\n".join(clean))
        self.detector.row(clean, self._header)

    def _hand_on(self, *, final: bool) -> None:
        text = "".join(self._waiting)
        rest = ""
        if not final:
            # Whole lines where there are any: a mark or a number must not be cut in two.
            cut = text.rfind("\n") + 1 or len(text)
            text, rest = text[:cut], text[cut:]
        self._waiting, self._waiting_size = [rest] if rest else [], len(rest)
        text = normalise(text)
        self.labels.look(text)
        self.detector.text(text)
