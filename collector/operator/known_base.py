"""Which release in force an operator may compare with: one that somebody signed whom the operator knows.

The collector hands out the release in force. A stolen one could hand out another, so that the difference an operator is
shown before signing hides what really changes.
"""

from __future__ import annotations

from pathlib import Path

from collector.desk.bundles import read_bundle
from collector.operator.keyfile import read_header, read_public
from policies.model import Bundle
from protocol.keys import fingerprint
from protocol.refusal import RefusedError
from protocol.signed import Signed, signers


def known_keys(key: Path) -> dict[str, bytes]:
    """Fingerprint → public key: the operator's own, and every ``*.pub`` beside it (colleagues who sign policies).

    Raises RefusedError ``corrupt`` for a file that is no key.
    """
    publics = [read_header(key).public, *(read_public(path) for path in sorted(key.parent.glob("*.pub")))]
    return {fingerprint(public): public for public in publics}


def known_base(document: Signed, key: Path) -> Bundle | None:
    """The release, when one of :func:`known_keys` signed it; None when nobody known did."""
    try:
        signers("policy", document, known_keys(key))
    except RefusedError:
        return None
    return read_bundle(document.body)
