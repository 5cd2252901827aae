"""Handing things from one thread to another: a deque, and a descriptor that a poll loop can wait on (eventfd(2))."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Any thread puts, one thread waits on :meth:`fileno` and takes. A put costs a few µs and never blocks."""

    def __init__(self) -> None:
        self._items: deque[T] = deque()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable while something lies there, or after :meth:`wake`."""
        return self._event

    def put(self, item: T) -> None:
        """Add an item and wake the taker."""
        self._items.append(item)
        os.eventfd_write(self._event, 1)

    def wake(self) -> None:
        """Wake the taker without an item."""
        os.eventfd_write(self._event, 1)

    def take(self) -> list[T]:
        """Everything put so far, in order."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        return [self._items.popleft() for _ in range(len(self._items))]

    def close(self) -> None:
        """Close the descriptor; nobody may put any more."""
        os.close(self._event)
