"""The control database from the gateway's loop: asked in a thread, so that its locks never hold up a lane."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from collector.registers.store import Store

T = TypeVar("T")
_Job = tuple[Callable[[Store], Any], Callable[[Any], None], Callable[[Exception], None]]


class Clerk:
    """Runs jobs in order in its thread; their outcomes are handed over in the loop's thread by :meth:`collect`.

    ``fd`` becomes readable when there is something to collect.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._outcomes: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="clerk", daemon=True)
        self._thread.start()

    def ask(
        self, job: Callable[[Store], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """Run ``job``; later call ``done`` with its result, or ``failed`` with what it raised."""
        self._jobs.put((job, done, failed))

    def collect(self) -> None:
        """Hand over the outcomes that are there."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return
        while not self._outcomes.empty():
            self._outcomes.get()()

    def close(self) -> None:
        """Finish what was asked, then stop. Outcomes are no longer handed over."""
        self._jobs.put(None)
        self._thread.join()
        os.close(self.fd)

    def _run(self) -> None:
        while (entry := self._jobs.get()) is not None:
            job, done, failed = entry
            try:
                result = job(self._store)
            except Exception as error:  # noqa: BLE001 - whatever it is, the loop is told and decides
                self._outcomes.put(lambda error=error, failed=failed: failed(error))  # type: ignore[misc]
            else:
                self._outcomes.put(lambda result=result, done=done: done(result))  # type: ignore[misc]
            os.eventfd_write(self.fd, 1)
