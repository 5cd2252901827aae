"""The last good policy: kept on disk exactly as it was signed, verified again at every start."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from agent.identity import Identity
from policies.bundle import open_bundle
from policies.view import PolicyView
from protocol.keys import read_private, write_private
from protocol.refusal import UNREADABLE, RefusedError
from protocol.signed import Signed
from protocol.trust import TrustRoot

BUNDLE_FILE = "bundle.signed"


def open_policy(
    document: Signed, root: TrustRoot, agent_id: str, *, newer_than: int, now_us: int
) -> PolicyView:
    """Verify a bundle and make this PC's view of it. Raises RefusedError by name."""
    bundle, digest = open_bundle(
        document, root.policy_keys, city=root.city, newer_than=newer_than, now_us=now_us
    )
    return PolicyView(bundle, digest, agent_id)


def load_last_good(state: Path, identity: Identity) -> PolicyView | None:
    """The policy that was in force when the agent last ran; None = there never was one.

    Its age does not matter: an expired policy is better than none, and a health code tells. Raises RefusedError for
    a file that is not what was kept; it is renamed aside, so that the collector's copy is fetched.
    """
    path = state / BUNDLE_FILE
    try:
        document = msgspec.msgpack.decode(read_private(path), type=Signed)
        return open_policy(document, identity.root, identity.agent_id, newer_than=0, now_us=0)
    except FileNotFoundError:
        return None
    except (RefusedError, *UNREADABLE) as error:
        with contextlib.suppress(OSError):
            path.rename(path.with_name(f"{BUNDLE_FILE}.refused"))
        if isinstance(error, RefusedError):
            raise
        raise RefusedError("corrupt", f"{path}: {error}") from error


def keep(state: Path, document: Signed) -> None:
    """Make a verified bundle the last good one. Raises OSError."""
    write_private(state / BUNDLE_FILE, msgspec.msgpack.encode(document))
