"""The counter: who asks is told by the kernel; what is asked is small, soon and known; nobody keeps others out."""

import contextlib
import json
import os
import select
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import asking, cli
from agent.counter import MAX_CLIENTS, MAX_PER_USER, QUESTIONS_PER_MINUTE, put_question
from agent.counter_wire import (
    MAX_QUESTION,
    Ask,
    Denied,
    ListRefusals,
    Refusals,
    Taken,
    read_answer,
    read_question,
)
from agent.health import Health
from agent.platform import Platform
from agent.reception import ASKS_PER_HOUR, BUTTON_DAYS, Reception
from policies.view import PolicyView
from protocol.events import (
    DeviceBlocked,
    Event,
    PermitRequested,
    ProcessDenied,
)
from protocol.refusal import RefusedError
from tests.agent.strict_policy import STICK, permit, policy


class Pc:
    """A reception with its loop in a thread, as the agent runs it."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="sekisho-counter-"))
        self.root.chmod(0o755)
        (self.root / "etc").mkdir()
        (self.root / "etc/passwd").write_text("tanaka:x:65534:65534::/:/bin/sh\n")
        self.platform = Platform(state=self.root / "state", run=self.root / "run", root=self.root)
        for folder in (self.platform.state, self.platform.run):
            folder.mkdir(mode=0o700)
        self.told: list[Event] = []
        self.health = Health()
        self.reception = Reception(self.platform, self.health, self.told.append)
        self.reception.open()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()

    def _loop(self) -> None:
        while not self._ending.is_set():
            ready, _, _ = select.select(self.reception.filenos(), [], [], 0.01)
            for fileno in ready:
                self.reception.read(fileno)
            if self.reception._counter:
                self.reception._counter.tick()

    def ask(self, question: Any) -> Any:
        return read_answer(put_question(self.platform.run, question))

    def as_user(self, *arguments: str, uid: int = 65534) -> tuple[int, str, str]:
        """``sekisho-agent`` with another user's rights; forked, as the interpreter may lie where nobody can go."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            status = self._forked(out.fileno(), err.fileno(), arguments, uid)
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read()

    def _forked(self, out: int, err: int, arguments: tuple[str, ...], uid: int) -> int:
        child = os.fork()
        if child == 0:
            status = 70
            try:
                os.dup2(out, 1)
                os.dup2(err, 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                assert asking.STATES  # imported while it can be read
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                status = cli.main([*arguments, "--run", str(self.platform.run), "--lang", "ja"])
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(status)
        _, waited = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(waited)

    def close(self) -> None:
        self._ending.set()
        self._thread.join()
        self.reception.close()
        shutil.rmtree(self.root)


@pytest.fixture
def pc() -> Iterator[Pc]:
    one = Pc()
    yield one
    one.close()


@pytest.mark.needs("root")
def test_user_without_rights_lists_and_applies(pc: Pc) -> None:
    pc.reception.judged(STICK, policy())
    status, out, err = pc.as_user("ask", "--list")
    assert (status, err) == (0, "")
    assert "PRIVATE-9999" in out
    assert "申請できます" in out
    status, out, _ = pc.as_user("ask", "1", "--purpose", "国勢調査の調査票", "--days", "14", "--json")
    assert status == 0
    (event,) = pc.told
    assert isinstance(event, PermitRequested)
    assert json.loads(out)["request"] == event.request
    assert (event.user, event.wanted, event.days, event.refused) == (
        "tanaka",
        "device",
        14,
        "device-without-permit",
    )
    assert event.purpose == "国勢調査の調査票"
    assert event.subject == {
        "device_id": "5f" * 32,
        "vendor_id": "0951",
        "product_id": "1666",
        "serial": "PRIVATE-9999",
    }
    status, out, _ = pc.as_user("ask", "1", "--purpose", "もう一度")
    assert "受付済み" in out
    assert len(pc.told) == 1
    _, out, _ = pc.as_user("notices", "--json")
    assert [line["state"] for line in json.loads(out)] == ["applied"]


@pytest.mark.needs("root")
def test_what_a_process_was_refused_is_its_users_business_only(pc: Pc) -> None:
    denied = ProcessDenied(
        time_us=1, action="blocked", rules=("device-without-permit",), uid=4711, digest="a" * 64
    )
    pc.reception.judged(denied, policy())
    assert json.loads(pc.as_user("ask", "--json")[1]) == []
    status, _, err = pc.as_user("ask", "1", "--purpose", "x")
    assert status == 1
    assert "not_found" in err
    assert len(json.loads(pc.as_user("ask", "--json", uid=4711)[1])) == 1
    assert len(json.loads(pc.as_user("ask", "--json", uid=0)[1])) == 1


@pytest.mark.needs("root")
def test_run_folder_lets_users_pass_but_not_look(pc: Pc) -> None:
    assert pc.platform.run.stat().st_mode & 0o777 == 0o711
    assert (pc.platform.run / "counter.sock").stat().st_mode & 0o777 == 0o666


def test_no_agent_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ask", "--run", str(tmp_path), "--lang", "en"]) == 1
    assert "counter_closed" in capsys.readouterr().err


def test_applications_are_limited(pc: Pc) -> None:
    for number in range(1, ASKS_PER_HOUR + 2):
        pc.reception.judged(msgspec.structs.replace(STICK, serial=f"S{number}"), policy())
    taken = [pc.ask(Ask(number, "work", 1)) for number in range(1, ASKS_PER_HOUR + 1)]
    assert all(isinstance(one, Taken) for one in taken)
    refused = pc.ask(Ask(ASKS_PER_HOUR + 1, "work", 1))
    assert isinstance(refused, Denied)
    assert refused.name == "overloaded"


@pytest.mark.parametrize("purpose", ["   ", "a\x1b[2J"])
def test_purpose_must_say_something(pc: Pc, purpose: str) -> None:
    pc.reception.judged(STICK, policy())
    assert getattr(pc.ask(Ask(1, purpose, 1)), "name", "") == "bad_value"


def test_what_no_permit_can_cover_is_not_applied_for(pc: Pc) -> None:
    pc.reception.judged(msgspec.structs.replace(STICK, permit="not_permittable"), policy())
    answer = pc.ask(Ask(1, "work", 1))
    assert isinstance(answer, Denied)
    assert answer.name == "wrong_state"
    lines = pc.ask(ListRefusals())
    assert [line.state for line in lines.lines] == ["no_permit_possible"]


def test_one_user_cannot_keep_others_out(pc: Pc) -> None:
    path = str(pc.platform.run / "counter.sock")
    idle = []
    for _ in range(MAX_PER_USER):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        idle.append(client)
    while len(pc.reception._counter._clients if pc.reception._counter else ()) < MAX_PER_USER:
        pass
    refused = pc.ask(ListRefusals())
    assert isinstance(refused, Denied)
    assert refused.name == "overloaded"
    for client in idle:
        client.close()
    assert MAX_PER_USER < MAX_CLIENTS


def test_questions_are_limited(pc: Pc) -> None:
    answers = [pc.ask(ListRefusals()) for _ in range(QUESTIONS_PER_MINUTE + 1)]
    assert isinstance(answers[-2], Refusals)
    assert isinstance(answers[-1], Denied)


def test_too_long_a_question_is_refused_unread(pc: Pc) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(pc.platform.run / "counter.sock"))
        client.sendall(b"x" * (MAX_QUESTION + 1))
        answer = read_answer(client.recv(65536))
    assert isinstance(answer, Denied)
    assert answer.name == "oversized"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused_by_name(data: bytes) -> None:
    with contextlib.suppress(RefusedError):
        assert isinstance(read_question(data), Ask | ListRefusals)
    with contextlib.suppress(RefusedError):
        assert isinstance(read_answer(data), Refusals | Taken | Denied)


def test_book_survives_a_restart(pc: Pc) -> None:
    pc.reception.judged(STICK, policy())
    pc.ask(Ask(1, "work", 3))
    pc.reception._save(0.0)
    again = Reception(pc.platform, Health(), pc.told.append)
    lines = again.answer(os.getuid(), ListRefusals())
    assert isinstance(lines, Refusals)
    assert [(line.number, line.state) for line in lines.lines] == [(1, "applied")]
    again.close()


def test_applicant_hears_when_a_policy_permits_it(pc: Pc) -> None:
    pc.reception.judged(STICK, policy())
    pc.ask(Ask(1, "work", 3))
    pc.reception.follow(policy())
    assert [line.state for line in pc.ask(ListRefusals()).lines] == ["applied"]
    pc.reception.follow(policy(permit("device", serial="PRIVATE-9999", vendor_id="0951", product_id="1666")))
    assert [line.state for line in pc.ask(ListRefusals()).lines] == ["granted"]
    assert pc.reception._notices._granted[0][1] == os.getuid()
    answer = pc.ask(Ask(1, "work", 3))
    assert isinstance(answer, Denied)
    assert answer.name == "already_there"


def test_button_applies_with_the_words_of_the_button(pc: Pc) -> None:
    pc.reception.judged(STICK, policy())
    pc.reception._by_button(1000, 1)
    pc.reception._by_button(1000, 99)
    (event,) = pc.told
    assert isinstance(event, PermitRequested)
    assert event.days == BUTTON_DAYS
    assert event.purpose
    assert pc.health.counters["counter.not_found"] == 1


def test_only_what_was_stopped_is_written_down(pc: Pc) -> None:
    view: PolicyView = policy()
    for event in (
        msgspec.structs.replace(STICK, action="allowed"),
        msgspec.structs.replace(STICK, rules=()),
        msgspec.structs.replace(STICK, rules=("unknown",)),
        DeviceBlocked(time_us=1, action="blocked"),
    ):
        pc.reception.judged(event, view)
    pc.reception.judged(STICK, None)
    assert pc.ask(ListRefusals()).lines == ()
