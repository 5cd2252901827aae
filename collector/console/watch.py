"""Waiting for the control database to change, for long polls.

``PRAGMA data_version`` tells, without reading a page, whether another connection committed
(https://www.sqlite.org/pragma.html#pragma_data_version). It is asked only while somebody waits.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread

T = TypeVar("T")
LOOK_S = 0.1
LONGEST_WAIT_S = 25


class Watch:
    """Looks ten times a second whether the database changed, and lets every waiter look again when it did."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=rw", uri=True, check_same_thread=False)
        self._connection.execute("PRAGMA query_only=1")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    async def until(self, look: Callable[[], T], done: Callable[[T], bool], wait_s: float) -> T:
        """Call ``look`` (in a thread) now and after each change, until ``done`` says so or ``wait_s`` are over.

        Returns the last thing seen. A state that only time changes is looked at once a second.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + min(wait_s, LONGEST_WAIT_S)
        while True:
            version = self._version()
            seen = await anyio.to_thread.run_sync(look)
            if done(seen) or loop.time() >= ends:
                return seen
            again = min(ends, loop.time() + 1)
            # Nobody signals: the writers are other processes.
            while loop.time() < again and self._version() == version:  # noqa: ASYNC110
                await anyio.sleep(min(LOOK_S, max(0.0, again - loop.time())))
