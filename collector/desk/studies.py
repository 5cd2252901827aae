"""Starting, following and cancelling studies (``study``) from the API's process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from collector.desk.study import Plan, study
from collector.registers.models import Release
from collector.registers.models_releases import Study
from collector.registers.store import Store, now_us
from protocol.refusal import RefusedError

AT_ONCE = 20_000
"""Events that are looked at within the call; more are left to a process of their own."""
KEPT = 200
"""Studies that are remembered, beside those a release stands on."""
UNDER_WAY = ("waiting", "running")
INTERRUPTED = "the process that did it ended before it was done"


class Studies:
    """The studies of one data directory: at most one is under way."""

    def __init__(self, data: Path, store: Store) -> None:
        self._data, self._store = data, store
        self._lock = threading.RLock()
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def start(
        self,
        kind: str,
        plan: Plan,
        *,
        content: str,
        by: str,
        at_us: int,
        report: dict[str, Any] | None = None,
    ) -> Study:
        """Begin a study of the present draft, whose content has the digest ``content``; a small one is done on return.

        Raises RefusedError ``overloaded`` while another one is under way.
        """
        with self._lock:
            self._tidy()
            with self._store.write() as session:
                busy = session.scalar(select(Study.id).where(Study.state.in_(UNDER_WAY)).limit(1))
                if busy is not None:
                    raise RefusedError(
                        "overloaded",
                        f"study {busy} is under way",
                        "wait for it, or cancel it: sekisho policy studies",
                    )
                row = Study(
                    kind=kind,
                    state="waiting",
                    plan=msgspec.to_builtins(plan),
                    content=content,
                    report=report or {},
                    created_us=at_us,
                    created_by=by,
                )
                session.add(row)
                _forget(session)
                session.flush()
                study_id = row.id
            if not study(self._data, study_id, at_once=AT_ONCE):
                self._spawn(study_id)
        return self.get(study_id)

    def get(self, study_id: int) -> Study:
        """A study as it is now. Raises RefusedError ``not_found``."""
        with self._lock:
            self._tidy()
        with self._store.read() as session:
            row = session.get(Study, study_id)
        if row is None:
            raise RefusedError("not_found", f"no study {study_id}", "sekisho policy studies")
        return row

    def list(self, kind: str = "") -> list[Study]:
        """Studies, newest first."""
        with self._lock:
            self._tidy()
        with self._store.read() as session:
            query = select(Study).order_by(Study.id.desc())
            return list(session.scalars(query.where(Study.kind == kind) if kind else query))

    def cancel(self, study_id: int) -> Study:
        """Have a study end; what it found so far is not kept. Raises RefusedError ``not_found``, ``wrong_state``."""
        with self._store.write() as session:
            row = session.get(Study, study_id)
            if row is None:
                raise RefusedError("not_found", f"no study {study_id}", "sekisho policy studies")
            if row.state not in UNDER_WAY:
                raise RefusedError("wrong_state", f"study {study_id} is {row.state}")
            row.state, row.finished_us = "cancelled", now_us()
        return row

    def close(self) -> None:
        """End what is under way; it is marked as interrupted when somebody next looks."""
        for process in self._running.values():
            process.terminate()
            process.wait()
        self._running.clear()

    def _spawn(self, study_id: int) -> None:
        argv = [
            sys.executable,
            "-m",
            "collector.desk.study",
            "--data",
            str(self._data),
            "--id",
            str(study_id),
        ]
        self._running[study_id] = subprocess.Popen(
            [*argv, "--parent", str(os.getpid())], stdin=subprocess.DEVNULL
        )

    def _tidy(self) -> None:
        """Reap processes that ended; a study that nobody does any more has failed."""
        for study_id, process in list(self._running.items()):
            if process.poll() is not None:
                del self._running[study_id]
        with self._store.read() as session:
            mine = select(Study.id).where(Study.state.in_(UNDER_WAY))
            lost = [one for one in session.scalars(mine) if one not in self._running]
        if lost:
            with self._store.write() as session:
                for row in session.scalars(
                    select(Study).where(Study.id.in_(lost), Study.state.in_(UNDER_WAY))
                ):
                    row.state, row.error, row.finished_us = "failed", INTERRUPTED, now_us()


def _forget(session: Session) -> None:
    kept = select(Study.id).order_by(Study.id.desc()).limit(KEPT)
    used = select(Release.study_id)
    session.execute(delete(Study).where(Study.id.not_in(kept), Study.id.not_in(used)))
