"""Joining, over real CURVE sockets."""

from collections.abc import Callable

import pytest
import zmq
from msgspec.structs import replace

from collector.gateway import enrolment
from collector.gateway.enrolment import Known, decide
from collector.registers.agents import set_status
from collector.registers.store import now_us
from protocol.keys import fingerprint, new_curve_pair, new_sign_pair, z85
from protocol.messages import EnrolReply, Refusal
from protocol.refusal import RefusedError
from protocol.trust import first_root
from tests.collector.gateway.pc import DAY_US, PC, City, Running, eventually, running

New = Callable[..., PC]


def enrol(pc: PC, gateway: Running, token: bytes = b"") -> EnrolReply | Refusal:
    pc.connect(gateway, "enrol")
    answer = pc.ask("enrol", pc.enrolment(token))
    assert isinstance(answer, EnrolReply | Refusal)
    return answer


def test_a_token_lets_a_pc_in_and_gives_it_the_trust_root(city: City, gateway: Running, new_pc: New) -> None:
    pc = new_pc("kikaku-01", status="")
    answer = enrol(pc, gateway, city.token())
    assert isinstance(answer, EnrolReply)
    assert (answer.status, answer.agent_id) == ("accepted", pc.id)
    assert answer.trust is not None
    assert first_root(answer.trust, fingerprint(city.root.public)) == city.trust
    row = city.agent(pc)
    assert (row.status, row.hostname, row.zone, row.section) == ("active", "kikaku-01", "lgwan", "市民課")
    # It may work at once.
    pc.connect(gateway)
    assert pc.ask("control", pc.beat()).policy_generation == 0
    assert pc.ask("data", pc.batch(3)).seq == 3


def test_the_same_key_again_is_idempotent_and_uses_no_token(
    city: City, gateway: Running, new_pc: New
) -> None:
    token = city.token(uses=2)
    pc, other, third = new_pc(status=""), new_pc(status=""), new_pc(status="")
    for _ in range(3):
        answer = enrol(pc, gateway, token)
        assert isinstance(answer, EnrolReply)
        assert answer.status == "accepted"
    assert isinstance(enrol(other, gateway, token), EnrolReply)
    refusal = enrol(third, gateway, token)
    assert isinstance(refusal, Refusal)
    assert refusal.name == "token_used_up"


def test_without_a_token_it_waits_for_approval_by_fingerprint(
    city: City, gateway: Running, new_pc: New
) -> None:
    pc = new_pc(status="")
    for _ in range(2):
        answer = enrol(pc, gateway)
        assert isinstance(answer, EnrolReply)
        assert (answer.status, answer.trust) == ("pending", None)
    assert city.agent(pc).status == "pending"
    with city.store() as store, store.write() as session:
        set_status(session, pc.id, "active")
    answer = enrol(pc, gateway)
    assert isinstance(answer, EnrolReply)
    assert answer.status == "accepted"


@pytest.mark.parametrize("kind", ["unknown", "expired", "revoked"])
def test_tokens_that_are_no_good(city: City, gateway: Running, new_pc: New, kind: str) -> None:
    token = city.token(lifetime_us=1) if kind == "expired" else city.token()
    if kind == "unknown":
        token = b"x" * 16
    if kind == "revoked":
        with city.store() as store, store.write() as session:
            from collector.registers.tokens import list_tokens, revoke_token

            revoke_token(session, list_tokens(session)[0].id)
    refusal = enrol(new_pc(status=""), gateway, token)
    assert isinstance(refusal, Refusal)
    name = "token_expired" if kind == "expired" else "token_unknown"
    assert refusal.name == name
    assert gateway.refused(f"enrol/{name}") == 1


def test_a_clock_set_back_does_not_revive_an_expired_token(
    city: City, new_pc: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was seen to be two days later; then somebody sets the clock back."""
    token = city.token(lifetime_us=DAY_US)
    real = now_us()
    with monkeypatch.context() as patch:
        patch.setattr("collector.gateway.clock.Clock.now_us", lambda _: real + 2 * DAY_US)
        with running(city):
            pass
    with running(city) as gateway:
        refusal = enrol(new_pc(status=""), gateway, token)
        assert isinstance(refusal, Refusal)
        assert refusal.name == "token_expired"
        assert "clock_back" in eventually(lambda: gateway.gateway.stats.health)


def test_a_foreign_proof_is_refused(city: City, gateway: Running, new_pc: New) -> None:
    pc = new_pc(status="").connect(gateway, "enrol")
    refusal = pc.ask("enrol", replace(pc.enrolment(city.token()), sign_key=new_sign_pair().public))
    assert refusal.name == "bad_proof"
    proof_of_another = new_pc(status="").enrolment().proof
    assert pc.ask("enrol", replace(pc.enrolment(), proof=proof_of_another)).name == "bad_proof"


def test_a_revoked_key_never_comes_back(city: City, gateway: Running, new_pc: New) -> None:
    pc = new_pc(status="revoked")
    refusal = enrol(pc, gateway, city.token())
    assert isinstance(refusal, Refusal)
    assert refusal.name == "revoked_key"
    assert city.agent(pc).status == "revoked"


def test_another_collectors_key_is_not_spoken_to(city: City, gateway: Running, new_pc: New) -> None:
    """A PC that pins another server key gets no word through."""
    pc = new_pc(status="").connect(gateway, "enrol")
    pc.sockets["enrol"].close()
    socket = pc.context.socket(zmq.DEALER)
    pc.sockets["enrol"] = socket
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.CURVE_SERVERKEY, z85(new_curve_pair().public))
    socket.setsockopt(zmq.CURVE_PUBLICKEY, z85(pc.curve.public))
    socket.setsockopt(zmq.CURVE_SECRETKEY, z85(pc.curve.secret))
    socket.connect(gateway.endpoint("enrol"))
    pc.send("enrol", pc.enrolment())
    assert pc.receive("enrol", 0.5) is None


# -- the decision alone ----------------------------------------------------------------------------------------------


def test_steps_by_status(city: City) -> None:
    pc = PC(city)
    plain, with_token = pc.enrolment(), pc.enrolment(b"t" * 16)
    assert decide(None, plain, waiting=0) == "wait"
    assert decide(None, with_token, waiting=0) == "token"
    assert decide(Known("pending", pc.sign.public), plain, waiting=1) == "wait"
    assert decide(Known("pending", pc.sign.public), with_token, waiting=1) == "token"
    assert decide(Known("active", pc.sign.public), with_token, waiting=0) == "renew"
    assert decide(Known("quarantined", pc.sign.public), plain, waiting=0) == "renew"
    for known, name in (
        (Known("revoked", pc.sign.public), "revoked_key"),
        (Known("active", b"x" * 32), "foreign"),
    ):
        with pytest.raises(RefusedError) as caught:
            decide(known, with_token, waiting=0)
        assert caught.value.name == name


def test_nobody_fills_the_register_by_asking(city: City) -> None:
    pc = PC(city)
    with pytest.raises(RefusedError) as caught:
        decide(None, pc.enrolment(), waiting=enrolment.MOST_WAITING)
    assert caught.value.name == "overloaded"
    assert decide(Known("pending", pc.sign.public), pc.enrolment(), waiting=enrolment.MOST_WAITING) == "wait"
    assert decide(None, pc.enrolment(b"t" * 16), waiting=enrolment.MOST_WAITING) == "token"
