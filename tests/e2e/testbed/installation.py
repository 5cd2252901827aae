"""Sekisho installed in the city hall: the *installed* commands, run as an operator and a service manager would."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.testbed.cityhall import COLLECTOR_V4, COLLECTOR_V6, CityHall
from tests.e2e.testbed.machine import Failed, Machine, wait_for

DATA = "/var/lib/sekisho-collector"
STATE = "/var/lib/sekisho-agent"
ADMIN, PASSWORD = "admin", "correct horse battery staple"
URL = "http://127.0.0.1:7480"

ORDINANCES = ("nagoya", "meguro", "nerima", "kameoka")
POLICY = """\
zones:
  - name: mynumber
    title: {ja: 個人番号利用事務系, en: My Number affairs}
    networks: [10.10.1.0/24, "fd10:1::/64"]
    allow:
      - {network: 10.10.0.10/32}
      - {network: "fd10:0::a/128"}
  - name: lgwan
    title: {ja: LGWAN接続系, en: LGWAN side}
    networks: [10.10.2.0/24, "fd10:2::/64"]
    allow:
      - {network: 10.10.0.10/32}
      - {network: "fd10:0::a/128"}
      - {network: 203.0.113.20/32, port: 443, protocol: tcp}
      - {network: "2001:db8:eeee::20/128", port: 443, protocol: tcp}
      - {network: 203.0.113.20/32, port: 53, protocol: udp}
  - name: internet
    title: {ja: インターネット接続系, en: Internet side}
    networks: [10.10.3.0/24, "fd10:3::/64"]
    allow:
      - {network: 0.0.0.0/0, port: 443, protocol: tcp}
unassigned_zone: unassigned
settings:
  - {control: devices,     zone: "*", mode: enforce}
  - {control: media,       zone: "*", mode: enforce}
  - {control: software,    zone: "*", mode: observe}
  - {control: execution,   zone: "*", mode: enforce}
  - {control: connections, zone: "*", mode: enforce}
  - {control: execution,   zone: mynumber, mode: enforce, fail: closed}
  - {control: links,       zone: lgwan, mode: enforce}
  - {control: files,       zone: internet, mode: enforce}
not_permittable: [badusb]
rules_off: [host_firewall_off]
places:
  - name: juki
    title: {ja: 住民記録の抽出, en: extracts of the resident register}
    path: /srv/juki
    handlers: [suzuki]
labels:
  - {name: 機密性3, marks: [機密性3]}
software:
"""


class Office:
    """An operator's own PC: holds the keys, reaches the collector's loopback as through an SSH tunnel."""

    def __init__(self, machine: Machine, collector: Machine) -> None:
        self.machine = machine
        self._collector = collector

    def run(
        self, *argv: str, check: bool = True, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``sekisho``; the language is English unless the environment says otherwise."""
        env = {"SEKISHO_URL": URL}
        return self.machine.run(["sekisho", *argv], check=check, env=env, stdin=stdin, net=self._collector)

    def json(self, *argv: str) -> Any:
        """Run ``sekisho … --json`` and return what it says."""
        done = self.run(*argv, "--json")
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise Failed(
                f"sekisho {' '.join(argv)} --json said no JSON:\n{done.stdout}{done.stderr}"
            ) from error


class Installation:
    """Collector, operators and agents. Logs of all services lie in ``logs`` on the real machine."""

    def __init__(self, hall: CityHall, office: Machine, logs: Path) -> None:
        self.hall = hall
        self.logs = logs
        self.office = Office(office, hall.collector)
        self.agents: dict[str, subprocess.Popen[str]] = {}
        self.collector: subprocess.Popen[str] | None = None

    def install_collector(self) -> None:
        """``sekisho-collector init``; then the keys move to the operator's PC, as it says."""
        machine = self.hall.collector
        machine.write("/root/password", PASSWORD, 0o600)
        machine.run(
            [
                *("sekisho-collector", "init", "--data", DATA, "--city", "試験市"),
                *(word for name in ORDINANCES for word in ("--ordinance", name)),
                *("--address", COLLECTOR_V4, "--address", COLLECTOR_V6, "--new-keys", "/root/keys"),
                *("--admin-password-file", "/root/password"),
            ]
        )
        # The allowlist is what an image has when it is handed out: every package of it by name.
        names = machine.run(["dpkg-query", "--show", "--showformat=${Package}\\n"]).stdout.split()
        allowed = "".join(f"  - {{source: dpkg, package: {name}}}\n" for name in names)
        machine.write(f"{DATA}/policy.yaml", POLICY + allowed, 0o600)
        keys = machine.path("/root/keys")
        shutil.copytree(keys, self.office.machine.path("/root/keys"))
        shutil.rmtree(keys)
        self.office.machine.write("/root/password", PASSWORD, 0o600)

    def start_collector(self) -> None:
        """``sekisho-collector run``, until it answers."""
        log = self.logs / "collector.log"
        self.collector = self.hall.collector.spawn(["sekisho-collector", "run", "--data", DATA], log=log)
        argv = ["login", "--name", ADMIN, "--password-file", "/root/password"]
        wait_for(f"the collector's API (see {log})", lambda: "ready" in log.read_text())
        self.office.run(*argv)

    def enrol(self, name: str) -> str:
        """Give a PC a token, let it enrol, return its id."""
        zone = name.partition("-")[0]
        argv = [
            "tokens",
            "create",
            "--data",
            DATA,
            "--zone",
            zone,
            "--section",
            "市民課",
            "--uses",
            "1",
            "--expires",
            "1d",
        ]
        made = self.hall.collector.run(["sekisho-collector", *argv, "--json"])
        token = json.loads(made.stdout)["token"]
        pc = self.hall.pcs[name]
        address = COLLECTOR_V4
        pc.run(["sekisho-agent", "enrol", "--state", STATE, "--collector", address, "--token", token])
        return str(next(host["id"] for host in self.office.json("hosts") if host["hostname"] == name))

    def release_policy(self, reason: str = "testbed") -> int:
        """Sign and release what the policy desk has drafted; returns the generation."""
        self.office.run("policy", "apply", "--key", "/root/keys/policy.key", "--reason", reason, "--yes")
        return int(self.office.json("policy", "show")["generation"])

    def permit(self, *argv: str) -> int:
        """Enter a permit that Tanaka applied for and Sato approved, and release it; returns the generation."""
        people = ("--applicant", "tanaka", "--approver", "sato", "--until", "30d")
        self.office.run("permits", "grant", *argv, *people, "--key", "/root/keys/policy.key", "--yes")
        return int(self.office.json("policy", "show")["generation"])

    def start_agent(self, name: str, env: Mapping[str, str] | None = None) -> None:
        """``sekisho-agent run``."""
        log = self.logs / f"agent-{name}.log"
        self.agents[name] = self.hall.pcs[name].spawn(
            ["sekisho-agent", "run", "--state", STATE, "--beat", "2"], env=env, log=log
        )

    def kill_agent(self, name: str) -> None:
        """kill -9 of the agent's own process."""
        process = self.agents.pop(name)
        os.kill(self.hall.pcs[name].agent_pid(process), signal.SIGKILL)
        process.wait()

    def host(self, name: str) -> dict[str, Any]:
        """What the collector knows of a PC."""
        return next(host for host in self.office.json("hosts") if host["hostname"] == name)

    def wait_host(self, name: str, what: str, seconds: float = 20.0, **fields: object) -> dict[str, Any]:
        """Wait until the collector's record of a PC has these fields."""

        def probe() -> dict[str, Any] | None:
            host = self.host(name)
            return host if all(host.get(key) == value for key, value in fields.items()) else None

        return wait_for(f"{name}: {what} {fields}", probe, seconds=seconds)

    def alerts(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """Alerts of a PC whose fields are these."""
        found = self.office.json("alerts", "--limit", "500")
        wanted = {"hostname": name, **fields}
        return [alert for alert in found if all(alert.get(key) == value for key, value in wanted.items())]

    def close(self) -> None:
        """End the services; the machines end by themselves."""
        running: Sequence[subprocess.Popen[str]] = [
            *self.agents.values(),
            *([self.collector] if self.collector else []),
        ]
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        for process in running:
            process.kill()
            process.wait()
