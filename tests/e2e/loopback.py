"""The demo where there is no root: a collector and one PC on 127.0.0.1, as whoever runs it.

Nothing of the machine is touched: data, keys and state lie in a folder of their own, and the policy only observes. Steps
that need root are told as skipped, with what they need.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.e2e.city import Told, require
from tests.e2e.demo import perform, table_of
from tests.e2e.loopback_desk import Desk
from tests.e2e.story import STEPS
from tests.e2e.testbed.machine import BIN, Failed, wait_for

ADDRESS = "127.0.0.1"
PASSWORD = "correct horse battery staple"
POLICY = """\
zones:
  - name: office
    title: {ja: 庁内, en: Office}
    networks: [127.0.0.0/8]
settings:
  - {control: devices,     zone: "*", mode: observe}
  - {control: media,       zone: "*", mode: observe}
  - {control: software,    zone: "*", mode: observe}
  - {control: execution,   zone: "*", mode: observe}
  - {control: connections, zone: "*", mode: observe}
rules_off: [host_firewall_off]
software:
  - {source: dpkg, package: "*"}
  - {source: rpm, package: "*"}
"""
SEEDING_S = 300.0
"""The agent looks at up to 20,000 folders first, at low priority."""
NEEDS_ROOT = {
    "unknown_device_blocked": "root: cutting a USB device off",
    "permitted_device_allowed": "root: cutting USB devices off, or not",
    "unknown_medium_blocked": "root: mounting and unmounting",
    "unapproved_software_denied": "root: fanotify permission events",
    "approved_software_runs": "root: fanotify permission events",
    "external_connection_blocked": "root: nftables",
    "permitted_connection_allowed": "root: nftables",
    "host_isolated": "root: nftables",
    "collector_still_reached": "root: an isolated PC",
    "isolation_survives_agent_kill": "root: an isolated PC",
    "host_restored": "root: an isolated PC",
    "unregistered_machine_flagged": "root: a segment with machines on it",
    "wireless_refused": "root: a PC with an adapter",
    "my_number_stopped": "root: a mounted medium",
    "unprotected_pc_flagged": "root: a PC that reaches outside",
    "unknown_service_flagged": "root: a PC of its own network",
    "refusal_explained": "root: a desktop and a USB device",
    "permit_asked_for": "root: a refusal",
    "permit_granted": "root: an application",
    "applicant_told": "root: a desktop",
    "permit_used": "root: a USB device",
    "permit_revoked": "root: a USB device",
}
"""Step → what it needs. The others are told here by methods of the same name."""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((ADDRESS, 0))
        return [int(one.getsockname()[1]) for one in sockets]


class Loopback(Desk):
    """A collector, an operator and an agent on this machine's loopback, in one temporary folder."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sekisho-"))
        self.data, self.keys = self.folder / "collector", self.folder / "keys"
        self._agent_options = ["--state", str(self.folder / "agent"), "--run", str(self.folder / "run")]
        self._ports = free_ports(4)
        self._services: list[subprocess.Popen[bytes]] = []
        self._stack = contextlib.ExitStack()
        self._keep_logs = False

    # -- commands -------------------------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        keep = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TERM", "TMPDIR") if name in os.environ}
        path = f"{BIN}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        url = f"http://{ADDRESS}:{self._ports[-1]}"
        return {**keep, "PATH": path, "HOME": str(self.folder), "SEKISHO_URL": url}

    def _options(self) -> dict[str, Any]:
        return {"env": self._environment(), "cwd": self.folder, "stdin": subprocess.DEVNULL}

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one of the installed commands. Raises Failed with what it said when it must succeed and did not."""
        command = [str(BIN / argv[0]), *argv[1:]]
        done = subprocess.run(
            command, **self._options(), capture_output=True, text=True, check=False, timeout=60
        )
        if check and done.returncode != 0:
            raise Failed(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def json(self, *argv: str) -> Any:
        """Run a command with ``--json`` and return what it says."""
        return json.loads(self.run(*argv, "--json").stdout)

    def _serve(self, name: str, *argv: str) -> None:
        command = [str(BIN / argv[0]), *argv[1:]]
        with (self.folder / f"{name}.log").open("wb") as log:
            service = subprocess.Popen(command, **self._options(), stdout=log, stderr=subprocess.STDOUT)
            self._services.append(service)

    def wait_host(self, what: str, probe: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until the collector's record of this PC is as asked."""
        return wait_for(what, lambda: next(filter(probe, self.json("sekisho", "hosts")), None), seconds=40)

    # -- steps ----------------------------------------------------------------------------------------------------

    def enrolled(self) -> Told:
        """Initialise and start the collector, enrol this machine, release a policy, start the agent."""
        begin = time.monotonic()
        self._start_collector()
        token = self.json(
            *("sekisho-collector", "tokens", "create", "--data", str(self.data), "--zone", "office"),
            *("--section", "市民課", "--uses", "1", "--expires", "1d"),
        )["token"]
        enrol = ["sekisho-agent", "enrol", *self._agent_options, "--collector", ADDRESS]
        self.run(*enrol, "--port", str(self._ports[0]), "--token", token)
        key = str(self.keys / "policy.key")
        self.run("sekisho", "policy", "apply", "--key", key, "--reason", "first release", "--yes")
        generation = self.json("sekisho", "policy", "show")["generation"]
        self._serve("agent", "sekisho-agent", "run", *self._agent_options, "--beat", "1")
        host = self.wait_host(
            "the policy in force", lambda host: host["online"] and host["policy_generation"] == generation
        )
        blind, weak = (
            [code.partition(".")[2] for code in host["health"] if code.startswith(f"{part}_unsupported.")]
            for part in ("sensor", "enforcer")
        )
        require(weak, f"without root something must be missing, but health says {host['health']}")
        lacks = f"says it cannot see: {', '.join(blind) or '-'}; cannot stop: {', '.join(weak)}"
        what = f"1 PC enrolled by token, policy {generation} in force; {lacks}"
        return Told(what, (time.monotonic() - begin) * 1000)

    def _start_collector(self) -> None:
        password = self.folder / "password"
        password.touch(0o600)
        password.write_text(PASSWORD)
        enrol, control, data, api = self._ports
        ports = ["--ports", f"{enrol},{control},{data}", "--api-port", str(api)]
        init = ["sekisho-collector", "init", "--data", str(self.data), "--city", "試験市", *ports]
        made = ["--new-keys", str(self.keys), "--admin-password-file", str(password)]
        self.run(*init, "--ordinance", "nagoya", "--address", ADDRESS, *made)
        (self.data / "policy.yaml").write_text(POLICY)
        self._serve("collector", "sekisho-collector", "run", "--data", str(self.data))
        login = ["sekisho", "login", "--name", "admin", "--password-file", str(password)]
        wait_for("the collector's API", lambda: self.run(*login, check=False).returncode == 0)

    def package_install_flagged(self) -> Told:
        """A program that appears where users can write is flagged."""
        made: list[str] = []
        due = 0.0

        def flagged(names: list[str]) -> dict[str, Any] | None:
            alerts = self.json("sekisho", "alerts", "--limit", "500")
            return next((one for one in alerts if one["event"].get("name") in names), None)

        def seeded() -> dict[str, Any] | None:
            # The first look at a PC only records what is there, and says nothing when it is done: so now and then another.
            nonlocal due
            if time.monotonic() > due:
                made.append(self._drop_program(len(made)))
                due = time.monotonic() + 3 * 2 ** len(made)
            return flagged(made)

        wait_for("the end of the first look at what is installed", seeded, seconds=SEEDING_S)
        begin = time.monotonic()
        program = self._drop_program(len(made))
        alert = wait_for("an alert about a program in a user's folder", lambda: flagged([program]))
        took = (time.monotonic() - begin) * 1000
        require(alert["citations"], f"alert {alert['id']} cites no article")
        cited = min(alert["citations"], key=lambda entry: entry["ordinance"] == "baseline")
        return Told(f"{program}: flagged", took, f"{cited['ordinance']} {cited['article']}")

    def _drop_program(self, number: int) -> str:
        # The first place the agent watches: where others hold very many folders, it watches only some of them.
        memory = Path("/dev/shm")
        place = memory if os.access(memory, os.W_OK) else self.folder
        program = place / f"{self.folder.name}-freeware-{number}"
        self._stack.callback(program.unlink, missing_ok=True)
        program.write_text(f"#!/bin/sh\nexit {number}\n")
        program.chmod(0o755)
        return str(program)

    def alert_cites_article(self) -> Told:
        """Every alert of a rule names ordinance, article and edition."""
        begin = time.monotonic()
        alerts = [one for one in self.json("sekisho", "alerts", "--limit", "500") if one["rule_version"]]
        require(alerts, "there is no alert")
        for alert in alerts:
            cited = alert["citations"]
            whole = all(one["ordinance"] and one["article"] and one["edition"] for one in cited)
            require(cited and whole, f"alert {alert['id']} cites {cited}")
        articles = sorted({one["article"] for alert in alerts for one in alert["citations"]})
        took = (time.monotonic() - begin) * 1000
        return Told(f"{len(alerts)} alerts, each with its article", took, "・".join(articles[:4]))

    def nothing_lost(self) -> Told:
        """Every event the PC numbered is on the collector's disk."""
        begin = time.monotonic()
        host = self.wait_host(
            "spooled = stored", lambda host: host["stored"] == host["spooled"] > 0 and not host["dropped"]
        )
        what = f"{host['spooled']:,} events spooled = {host['stored']:,} stored"
        return Told(what, (time.monotonic() - begin) * 1000)

    # -- ends -----------------------------------------------------------------------------------------------------

    def keep_logs(self) -> Path:
        """Leave the folder behind, and say where it is."""
        self._keep_logs = True
        return self.folder

    def close(self) -> None:
        """Stop agent and collector, remove what was made."""
        for service in reversed(self._services):
            service.terminate()
        for service in self._services:
            try:
                service.wait(20)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()
        self._stack.close()
        if not self._keep_logs:
            shutil.rmtree(self.folder, ignore_errors=True)


def skipped(step: str, why: str) -> dict[str, Any]:
    """The row of a step that cannot be told here."""
    return {"step": step, "ok": False, "skipped": True, "ms": 0.0, "what": f"needs {why}"}


def loopback_story(console: Console) -> list[dict[str, Any]]:
    """Tell the steps that need no root, the others as skipped; one row each, in the story's order.

    After a step that failed the rest is skipped: it stands on it.
    """
    if platform.system() != "Linux":
        rows = [skipped(step, "Linux") for step in STEPS]
        console.print(table_of(rows))
        return rows
    rows = []
    console.print(f"Not root (uid {os.geteuid()}): one collector and one PC on {ADDRESS}.", highlight=False)
    with contextlib.closing(Loopback()) as city:
        failed = ""
        for step in STEPS:
            if failed or step in NEEDS_ROOT:
                rows.append(skipped(step, NEEDS_ROOT.get(step) or f"the step {failed}"))
                continue
            rows.append(perform((step, getattr(city, step))))
            failed = "" if rows[-1]["ok"] else step
            mark = "[red]✘[/]" if failed else "[green]✔[/]"
            console.print(f"{mark} {step:<32} {rows[-1]['what']}", highlight=False)
        console.print(table_of(rows))
        if failed:
            console.print(f"[red]logs of the services:[/] {city.keep_logs()}", highlight=False)
    return rows


def main() -> int:
    """``python -m tests.e2e.loopback``: tell it as JSON rows on standard output."""
    rows = loopback_story(Console(stderr=True, width=160))
    sys.stdout.write(json.dumps(rows, ensure_ascii=False))
    return 0 if all(row["ok"] or row.get("skipped") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
