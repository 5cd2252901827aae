"""The policy of each PC: one for all, and another one for rings that got a newer release early.

A PC is judged by the release it is meant to have, never by the one it says it runs: otherwise it could choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from collector.detection.batch import Batch
from collector.detection.rules import Flag, Policy, empty_policy, open_policy
from collector.registers import releases
from collector.registers.models import Agent
from policies.enrich import CompiledBundle
from policies.facts.base import Centre
from protocol.events import AnyEvent


class RingedPolicy:
    """Policies by ring, and the rings of PCs. With one release in force it is that, and costs one look-up a batch."""

    def __init__(
        self, meant: Mapping[str, int], policies: Mapping[int, Policy], rings: Mapping[str, str]
    ) -> None:
        """``meant``: ring → generation; ``policies`` by generation; ``rings``: PC → its ring, of PCs that are in one."""
        self.state = (dict(meant), dict(rings))
        """What it was made of: as long as the database says the same, it need not be made anew."""
        self.policies = dict(policies)
        self._common = self._of(releases.ALL)
        self._of_pc = {
            agent: policy for agent, ring in rings.items() if (policy := self._of(ring)) is not self._common
        }

    def _of(self, ring: str) -> Policy:
        generation = releases.target_of(self.state[0], ring)
        return self.policies[generation] if generation else self.policies.setdefault(0, empty_policy())

    @property
    def compiled(self) -> CompiledBundle:
        """The release for all."""
        return self._common.compiled

    def evaluate(
        self, batch: Batch, events: Sequence[AnyEvent | None], earliest: int, latest: int
    ) -> list[Flag]:
        """As :meth:`Policy.evaluate`, by the release that the sender is meant to have. Does not raise."""
        policy = self._of_pc.get(batch.agent_id, self._common)
        return policy.evaluate(batch, events, earliest, latest)

    def know(self, centre: Centre) -> None:
        """As :meth:`Policy.know`, for every release in force."""
        for policy in self.policies.values():
            policy.know(centre)

    def flags_for(
        self, rule_id: str, agent_id: str, seq: int, event: AnyEvent, said: dict[str, object]
    ) -> list[Flag]:
        """As :meth:`Policy.flags_for`, by the release that the PC is meant to have."""
        return self._of_pc.get(agent_id, self._common).flags_for(rule_id, agent_id, seq, event, said)

    def close_windows(self, now_us: int) -> list[Flag]:
        """As :meth:`Policy.close_windows`, for every release in force."""
        return [flag for policy in self.policies.values() for flag in policy.close_windows(now_us)]


def no_policy() -> RingedPolicy:
    """No release yet."""
    return RingedPolicy({}, {}, {})


def load_ringed(session: Session, have: RingedPolicy) -> RingedPolicy | None:
    """Compile what is in force; None when nothing changed against ``have``.

    Raises RefusedError by name when a release is not signed by a policy key of the trust root or cannot be read; then
    ``have`` goes on.
    """
    meant = releases.targets(session)
    ahead = [ring for ring in meant if ring != releases.ALL]
    query = select(Agent.id, Agent.ring).where(Agent.ring.in_(ahead))
    rings = dict(iter(session.execute(query))) if ahead else {}
    if (meant, rings) == have.state:
        return None
    policies = {one: have.policies.get(one) or open_policy(session, one) for one in set(meant.values())}
    return RingedPolicy(meant, policies, rings)
