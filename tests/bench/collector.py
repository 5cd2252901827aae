"""A real collector on loopback, its data on this disk, every shipped rule in force."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from collector.desk.release import current_bundle
from collector.registers.store import open_store
from policies.compile import rule_files
from policies.ordinance import load_ordinances
from policies.shipped import shipped_directory
from protocol.messages import Lane
from tests.bench.fleet import Simulated, Zmq, enrol
from tests.e2e.testbed.machine import BIN, wait_for

LANES: tuple[Lane, ...] = ("enrol", "control", "data")
POLICY = """\
zones:
  - name: servers
    title: {ja: 庁内サーバ, en: servers}
    networks: [10.10.0.0/24]
  - name: lgwan
    title: {ja: LGWAN接続系, en: LGWAN side}
    networks: [10.10.2.0/24]
    allow:
      - {network: 10.10.0.0/24, port: 443, protocol: tcp}
unassigned_zone: unassigned
settings:
  - {control: devices, zone: "*", mode: observe}
  - {control: execution, zone: "*", mode: enforce}
  - {control: connections, zone: "*", mode: enforce}
software:
  - {source: dpkg, package: "*"}
"""
PASSWORD = "a password for the bench only"


class Collector:
    """Set up and started, with as many simulated PCs as asked and then a first policy, which knows their zone.

    ``folder`` must be empty, and on the disk that is to be measured.
    """

    def __init__(self, folder: Path, context: Zmq, pcs: int) -> None:
        self.data, self._folder = folder / "data", folder
        *lanes, self._api_port = free_ports(len(LANES) + 1)
        self._ports = dict(zip(LANES, lanes, strict=True))
        self._password = folder / "password"
        self._password.write_text(PASSWORD)
        self._password.chmod(0o600)
        ordinances = [word for path in shipped_ordinances() for word in ("--ordinance", path)]
        self._administer(
            *("init", "--city", "試験市", *ordinances, "--address", "127.0.0.1"),
            *("--ports", ",".join(map(str, lanes)), "--api-port", str(self._api_port)),
            *("--new-keys", str(folder / "keys"), "--admin-password-file", str(self._password)),
        )
        (self.data / "policy.yaml").write_text(POLICY)
        argv = [str(BIN / "sekisho-collector"), "run", "--data", str(self.data)]
        with (folder / "collector.log").open("w") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            wait_for("the collector's API", self._signed_in, seconds=60)
            self.fleet, self.server = self._enrol(context, pcs)
            self._release_policy()
        except BaseException:
            self.close()
            raise

    def address(self, lane: Lane) -> str:
        """Where a lane is."""
        return f"tcp://127.0.0.1:{self._ports[lane]}"

    def detector(self) -> dict[str, Any]:
        """The detector's own statistics, as it writes them every two seconds; empty before the first."""
        try:
            return dict(msgspec.json.decode((self.data / "run" / "detector.stats.json").read_bytes()))
        except FileNotFoundError:
            return {}

    def close(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(30)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- administration --------------------------------------------------------------------------------------------

    def _administer(self, *words: str) -> str:
        return _run([str(BIN / "sekisho-collector"), *words, "--data", str(self.data)])

    def _operate(self, *words: str) -> str:
        own = {"SEKISHO_CONFIG_DIR": str(self._folder / "operator")}
        url = {"SEKISHO_URL": f"http://127.0.0.1:{self._api_port}"}
        return _run([str(BIN / "sekisho"), *words], {**os.environ, **own, **url})

    def _signed_in(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"the collector ended: {(self._folder / 'collector.log').read_text()}")
        try:
            self._operate("login", "--name", "admin", "--password-file", str(self._password))
        except RuntimeError:
            return False
        return True

    def _enrol(self, context: Zmq, count: int) -> tuple[list[Simulated], bytes]:
        """Simulated PCs, and the collector's CURVE key."""
        made = self._administer(
            *("tokens", "create", "--zone", "lgwan", "--uses", str(count), "--expires", "1d", "--json")
        )
        text = json.loads(made)["token"].removeprefix("SKT1-").upper()
        raw = base64.b32decode(text + "=" * (-len(text) % 8))
        server, secret = raw[:32], raw[52:]
        pcs = [Simulated() for _ in range(count)]
        for pc in pcs:
            enrol(context, pc, self.address("enrol"), server, secret)
        return pcs, server

    def _release_policy(self) -> None:
        key = str(self._folder / "keys" / "policy.key")
        self._operate("policy", "apply", "--key", key, "--reason", "bench", "--yes")
        wait_for("the policy in the detector", lambda: self.detector().get("policy"))
        store = open_store(self.data / "control.db")
        with store.read() as session:
            bundle = current_bundle(session)
        store.close()
        shipped = len(rule_files(shipped_directory("rules")))
        have = len(bundle.rules) + len(bundle.correlations) if bundle else 0
        if have != shipped:
            raise RuntimeError(f"{have} of the {shipped} shipped rules are in force")


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody uses now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def shipped_ordinances() -> list[str]:
    """Ids of all ordinances that are shipped: together they put every rule in force."""
    return sorted(load_ordinances(shipped_directory("ordinances")))


def _run(argv: list[str], env: dict[str, str] | None = None) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(argv)}: {done.stdout}{done.stderr}")
    return done.stdout
