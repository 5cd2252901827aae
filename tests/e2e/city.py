"""A city hall with Sekisho installed, for stories and tests."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.e2e.testbed.cityhall import CityHall
from tests.e2e.testbed.installation import Installation
from tests.e2e.testbed.machine import Failed, Machine, wait_for
from tests.e2e.testbed.usb_host import UsbHost


@dataclass
class Told:
    """What a step has to tell: what happened, the latency that matters, the article concerned."""

    what: str
    ms: float
    article: str = ""


def require(truth: object, what: str) -> None:
    """Fail the step, saying what did not hold."""
    if not truth:
        raise Failed(what)


class City:
    """One city hall with Sekisho in it, and what every step needs of it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.logs = Path(tempfile.mkdtemp(prefix="sekisho-logs-"))
        try:
            self.hall = self._stack.enter_context(CityHall())
            self.site = Installation(self.hall, self._stack.enter_context(Machine("office")), self.logs)
            self._stack.callback(self.site.close)
            self.usb = UsbHost(self.hall.pcs["lgwan-01"])
            self._stack.callback(self.usb.close)
        except BaseException:
            self._stack.close()
            raise
        self.ids: dict[str, str] = {}
        self._keep_logs = False

    def stage(self) -> None:
        """Put up what later acts need, before the first policy and the agents."""

    # -- helpers ------------------------------------------------------------------------------------------------------

    def cited(self, name: str, kind: str, **fields: object) -> dict[str, Any]:
        """Wait for an alert of a PC of this event kind; it must cite an article."""

        def probe() -> dict[str, Any] | None:
            found = self.site.alerts(name, kind=kind, **fields)
            return found[0] if found else None

        alert = wait_for(f"{name}: an alert about {kind} {fields}", probe)
        require(alert["citations"], f"alert {alert['id']} cites no article")
        return alert

    @staticmethod
    def article(alert: dict[str, Any]) -> str:
        """The city's own article of an alert, for the table."""
        cited = sorted(alert["citations"], key=lambda entry: entry["ordinance"] == "baseline")
        return f"{cited[0]['ordinance']} {cited[0]['article']}"

    def connects(self, name: str, address: str, port: int = 443, kind: str = "tcp") -> tuple[bool, float]:
        """Try a connection as an ordinary user; returns (did it work, milliseconds)."""
        script = Path(__file__).with_name("testbed") / "client.py"
        done = self.hall.pcs[name].run(
            ["/usr/bin/python3", "-S", str(script), kind, address, str(port)], user="tanaka", check=False
        )
        require(done.stdout, f"{name}: the client itself did not run: {done.stderr}")
        told = json.loads(done.stdout)
        return bool(told["ok"]), float(told["ms"])

    def close(self) -> None:
        """Switch everything off."""
        self._stack.close()
        if not self._keep_logs:
            shutil.rmtree(self.logs, ignore_errors=True)

    def keep_logs(self) -> Path:
        """Leave the services' logs behind, and say where."""
        self._keep_logs = True
        return self.logs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
