"""The commands: enrol, status, doctor, release, and a real resident process that ends cleanly."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from agent import cli, enforcers, sensors
from agent.enforcers import Enforcer
from agent.identity import Identity
from agent.left_reports import take_reports
from agent.status import Complaint, Status, as_text, is_running, read_status, write_status
from protocol.events import AgentRestored
from protocol.keys import fingerprint
from protocol.messages import EnrolRequest, Heartbeat, Refusal
from tests.agent.collector_double import Collector, running, until
from tests.agent.test_identity import target_of, token_text
from tests.agent.test_runtime import make_isolation

STATUS = Status(agent_id="abc", version="1", pid=os.getpid(), started_us=1, updated_us=2, city="testcity")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running() as one:
        yield one


def places(tmp_path: Path) -> list[str]:
    return ["--state", str(tmp_path / "state"), "--run", str(tmp_path / "run")]


def enrol(tmp_path: Path, collector: Collector, *more: str) -> int:
    port = str(collector.ports["enrol"])
    return cli.main(
        ["enrol", *places(tmp_path), "--collector", "127.0.0.1", "--port", port, "--lang", "ja", *more]
    )


def test_enrol_with_a_token(tmp_path: Path, collector: Collector, capsys: pytest.CaptureFixture[str]) -> None:
    assert enrol(tmp_path, collector, "--token", token_text(target_of(collector))) == 0
    identity = Identity.load(tmp_path / "state")
    assert identity.agent_id in capsys.readouterr().out
    assert identity.root.city == "testcity"


def test_enrol_with_the_token_on_standard_input(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "token").open("w+") as file:
        file.write(token_text(target_of(collector)) + "\n")
        file.seek(0)
        monkeypatch.setattr("sys.stdin", file)
        assert enrol(tmp_path, collector, "--token", "-") == 0


def test_enrol_by_approval(tmp_path: Path, collector: Collector) -> None:
    pins = [
        "--collector-key",
        collector.city.curve.public.hex(),
        "--root",
        fingerprint(collector.city.root.public),
    ]
    assert enrol(tmp_path, collector, *pins) == 0
    assert collector.of(EnrolRequest)[0].token == b""


@pytest.mark.parametrize(
    "more", [(), ("--collector-key", "00"), ("--token", "SKT1-a", "--collector-key", "00", "--root", "a")]
)
def test_enrol_wants_a_token_or_pins(tmp_path: Path, collector: Collector, more: tuple[str, ...]) -> None:
    assert enrol(tmp_path, collector, *more) == cli.MISUSED


@pytest.mark.parametrize(("lang", "says"), [("ja", "新しいトークン"), ("en", "new one")])
def test_a_refusal_says_its_name_and_what_to_do(
    tmp_path: Path, collector: Collector, capsys: pytest.CaptureFixture[str], lang: str, says: str
) -> None:
    collector.answers[EnrolRequest] = lambda _: [Refusal(name="token_expired", detail="yesterday")]
    assert (
        enrol(tmp_path, collector, "--token", token_text(target_of(collector)), "--lang", lang) == cli.FAILED
    )
    complaint = capsys.readouterr().err
    assert "token_expired" in complaint
    assert says in complaint


def test_run_without_enrolment_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *places(tmp_path)]) == cli.FAILED
    assert "foreign" in capsys.readouterr().err


# -- status ------------------------------------------------------------------------------------------------------------


def test_status_without_an_agent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", *places(tmp_path), "--lang", "ja"]) == cli.FAILED
    assert "動作していません" in capsys.readouterr().err


def test_status_of_a_dead_agent_is_not_believed(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    (tmp_path / "run").mkdir()
    write_status(
        tmp_path / "run",
        Status(**{**{name: getattr(STATUS, name) for name in STATUS.__struct_fields__}, "pid": child.pid}),
    )
    assert cli.main(["status", *places(tmp_path)]) == cli.FAILED


def test_status_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").mkdir()
    write_status(tmp_path / "run", STATUS)
    assert (tmp_path / "run/status.json").stat().st_mode & 0o777 == 0o600
    assert cli.main(["status", *places(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agent_id"] == "abc"
    assert cli.main(["status", *places(tmp_path), "--lang", "ja"]) == 0
    assert "異常はありません" in capsys.readouterr().out


def test_status_shows_complaints_in_the_language_asked_for() -> None:
    complaint = Complaint("disk_full", "critical", "空きがありません。", "No space.", "28 pages")
    status = Status(
        agent_id="abc",
        version="1",
        pid=1,
        started_us=1,
        updated_us=2,
        city="c",
        health=(complaint,),
        controls={"media": "enforce"},
    )
    assert "[disk_full] 空きがありません。 28 pages" in as_text(status, "ja")
    assert "[disk_full] No space." in as_text(status, "en")
    assert "media: enforce" in as_text(status, "en")


# -- release -----------------------------------------------------------------------------------------------------------


def isolated(event: AgentRestored) -> type[Enforcer]:
    class Released(make_isolation()):  # type: ignore[misc]
        name = "isolation"
        codes: ClassVar[list[str]] = []

        def restore_with_code(self, code: str) -> AgentRestored:
            self.codes.append(code)
            return event

    Enforcer.registry.pop("isolation", None)
    return Released


@pytest.mark.parametrize(("refusal", "status"), [("", 0), ("wrong_code", cli.FAILED)])
def test_release_leaves_a_report_for_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: str, status: int
) -> None:
    event = AgentRestored(time_us=1, order_id="o1", by_code=True, refusal=refusal)
    kind: Any = isolated(event)
    monkeypatch.setattr(enforcers, "discover", lambda: {"isolation": kind})
    (tmp_path / "state").mkdir()
    assert cli.main(["release", *places(tmp_path), "--code", "AAAA"]) == status
    assert kind.codes == ["AAAA"]
    assert list(take_reports(tmp_path / "state")) == [event]


def test_release_pokes_the_running_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcers, "discover", lambda: {"isolation": isolated(AgentRestored(time_us=1))})
    (tmp_path / "state").mkdir()
    (tmp_path / "run").mkdir()
    write_status(tmp_path / "run", STATUS)
    poked: list[int] = []
    before = signal.signal(signal.SIGHUP, lambda *_: poked.append(1))
    try:
        assert cli.main(["release", *places(tmp_path), "--code", "AAAA"]) == 0
        until(lambda: poked)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_release_where_nothing_can_isolate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enforcers, "discover", dict)
    assert cli.main(["release", *places(tmp_path), "--code", "AAAA"]) == cli.FAILED


# -- doctor ------------------------------------------------------------------------------------------------------------


def test_doctor_speaks_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(enforcers, "discover", dict)
    monkeypatch.setattr(sensors, "discover", dict)
    assert cli.main(["doctor", *places(tmp_path), "--json"]) == cli.FAILED
    assert {row["level"] for row in json.loads(capsys.readouterr().out)} == {"unsupported"}


# -- the resident process ----------------------------------------------------------------------------------------------

BARE = """
import sys
from agent import cli, enforcers, sensors
enforcers.discover = dict
sensors.discover = dict
sys.exit(cli.main(sys.argv[1:]))
"""


def test_the_resident_process_starts_reports_and_ends_cleanly(tmp_path: Path, collector: Collector) -> None:
    """With no sensor and no enforcer, so that it touches nothing of this machine."""
    assert enrol(tmp_path, collector, "--token", token_text(target_of(collector))) == 0
    agent = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", BARE, "run", *places(tmp_path), "--beat", "0.2"]
    )
    try:
        collector.wait_for(Heartbeat)
        status = until(
            lambda: (found := read_status(tmp_path / "run")) and found.collector == "connected" and found
        )
        assert is_running(status)
        assert status.pid == agent.pid
        agent.send_signal(signal.SIGHUP)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(15) == 0
    finally:
        agent.kill()
        agent.wait()
    assert read_status(tmp_path / "run") is None
    assert not (tmp_path / "state/running").exists()


HEAVY = (
    "typer",
    "rich",
    "sqlalchemy",
    "pydantic",
    "asyncio",
    "yaml",
    "sigma",
    "pyroute2",
    "scapy",
    "email",
    "importlib.metadata",
)


def test_the_resident_agent_imports_nothing_heavy() -> None:
    script = f"import sys, agent.cli, agent.runtime; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
