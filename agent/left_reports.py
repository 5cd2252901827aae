"""Events made by commands beside the resident agent (a local release): left in the state directory, taken up by it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from protocol.events import Event, decode_event, encode_event
from protocol.keys import read_private, write_private
from protocol.refusal import UNREADABLE, RefusedError

REPORTS_DIR = "reports"
LARGEST = 64 * 1024


def leave_report(state: Path, event: Event) -> None:
    """Leave an event for the resident agent, which takes it up at SIGHUP or at its next start. Raises OSError."""
    place = state / REPORTS_DIR
    place.mkdir(mode=0o700, exist_ok=True)
    write_private(place / f"{time.time_ns()}.event", encode_event(event))


def take_reports(state: Path) -> Iterator[Event]:
    """The events left so far, oldest first. A file is gone once the next one is asked for; an unreadable one at once."""
    for path in sorted((state / REPORTS_DIR).glob("*.event")):
        try:
            if path.stat().st_size <= LARGEST:
                yield decode_event(read_private(path))
        except (*UNREADABLE, RefusedError):
            pass
        path.unlink(missing_ok=True)
