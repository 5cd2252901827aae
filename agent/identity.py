"""Who this PC is and whom it believes: its keys, the enrolment that joins it to a collector, and the trust root.

Files in the state directory: ``keys.msgpack`` (0600: key pairs and the fingerprint the enrolment named) and
``trust.signed`` (the signed roots from the first to the current one). Every load verifies that chain again, so neither
file is worth anything without the other.
"""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
from msgspec import Struct

from protocol.keys import (
    CurvePair,
    SignPair,
    fingerprint,
    new_curve_pair,
    new_sign_pair,
    read_private,
    write_private,
)
from protocol.refusal import UNREADABLE, RefusedError
from protocol.signed import Signed
from protocol.trust import TrustRoot, first_root, next_root

TOKEN_PREFIX = "SKT1-"  # noqa: S105 - the public part that says which kind of token it is
KEY_BYTES, PRINT_BYTES, SECRET_BYTES = 32, 20, 16
KEYS_FILE, TRUST_FILE = "keys.msgpack", "trust.signed"


class Target(Struct, frozen=True):
    """What an enrolment pins. Only a token has a ``secret``."""

    collector_key: bytes
    root_fingerprint: str
    secret: bytes = b""

    def __repr__(self) -> str:
        """Show which collector, never the secret."""
        return f"Target({fingerprint(self.collector_key)})"


def parse_token(text: str) -> Target:
    """Read a token: ``SKT1-`` and base32 of collector key (32 bytes), root fingerprint (20) and secret (16).

    Raises RefusedError ``malformed_body``.
    """
    plain = "".join(text.split())
    if not plain.upper().startswith(TOKEN_PREFIX):
        raise RefusedError(
            "malformed_body", f"an enrolment token starts with {TOKEN_PREFIX}", "copy it whole"
        )
    raw = _unbase32(plain[len(TOKEN_PREFIX) :], "the token")
    if len(raw) != KEY_BYTES + PRINT_BYTES + SECRET_BYTES:
        raise RefusedError("malformed_body", "the token is too short or too long", "copy it whole")
    key, root, secret = (
        raw[:KEY_BYTES],
        raw[KEY_BYTES : KEY_BYTES + PRINT_BYTES],
        raw[KEY_BYTES + PRINT_BYTES :],
    )
    return Target(key, base64.b32encode(root).decode().lower(), secret)


def parse_pin(collector_key: str, root_fingerprint: str) -> Target:
    """Read what is given without a token: the collector's key in hex and the root's fingerprint (32 characters).

    Raises RefusedError ``malformed_body``.
    """
    try:
        key = bytes.fromhex(collector_key)
    except ValueError as error:
        raise RefusedError("malformed_body", "the collector key is not hexadecimal") from error
    root = root_fingerprint.strip().lower()
    if len(key) != KEY_BYTES or len(_unbase32(root, "the root fingerprint")) != PRINT_BYTES:
        raise RefusedError("malformed_body", "a key has 64 hex digits, a root fingerprint 32 characters")
    return Target(key, root)


def _unbase32(text: str, what: str) -> bytes:
    try:
        return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError as error:  # binascii.Error is one
        raise RefusedError("malformed_body", f"{what} has characters that do not belong there") from error


class Keys(Struct, frozen=True):
    """The PC's own keys, and the fingerprint of the root key its enrolment named (empty = not enrolled)."""

    curve: CurvePair
    sign: SignPair
    root_fingerprint: str = ""

    @property
    def agent_id(self) -> str:
        """The agent *is* the fingerprint of its CURVE key."""
        return fingerprint(self.curve.public)


class Identity:
    """Keys and trust of one state directory."""

    def __init__(self, state: Path, keys: Keys, chain: tuple[Signed, ...], root: TrustRoot | None) -> None:
        self.state, self.keys, self.chain, self._root = state, keys, chain, root

    @classmethod
    def load(cls, state: Path) -> Identity:
        """Read keys and trust and verify the whole chain. Raises RefusedError or FileNotFoundError."""
        try:
            keys = msgspec.msgpack.decode(read_private(state / KEYS_FILE), type=Keys)
        except UNREADABLE as error:
            raise RefusedError("corrupt", f"{state / KEYS_FILE}: {error}", "enrol this PC again") from error
        chain: tuple[Signed, ...] = ()
        root = None
        if keys.root_fingerprint:
            chain = _read_chain(state / TRUST_FILE)
            root = verify_chain(chain, keys.root_fingerprint)
        return cls(state, keys, chain, root)

    @classmethod
    def load_or_make(cls, state: Path) -> Identity:
        """Like :meth:`load`; makes keys where there are none."""
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (state / KEYS_FILE).exists():
            return cls.load(state)
        made = cls(state, Keys(new_curve_pair(), new_sign_pair()), (), None)
        write_private(state / KEYS_FILE, msgspec.msgpack.encode(made.keys))
        return made

    @property
    def agent_id(self) -> str:
        """Fingerprint of the CURVE key."""
        return self.keys.agent_id

    @property
    def enrolled(self) -> bool:
        """Whether there is a trust root."""
        return self._root is not None

    @property
    def root(self) -> TrustRoot:
        """The current trust root. Raises RefusedError ``foreign`` before enrolment."""
        if self._root is None:
            raise RefusedError("foreign", "this PC is not enrolled", "run sekisho-agent enrol")
        return self._root

    def pin(self, document: Signed, target: Target) -> TrustRoot:
        """Accept the first root, as the enrolment named it, and keep it. Raises RefusedError."""
        root = first_root(document, target.root_fingerprint)
        if root.collector_key != target.collector_key:
            raise RefusedError(
                "foreign", "the trust root names another collector key", "ask IT staff for a new token"
            )
        keys = msgspec.structs.replace(self.keys, root_fingerprint=target.root_fingerprint)
        _write_chain(self.state / TRUST_FILE, (document,))
        write_private(self.state / KEYS_FILE, msgspec.msgpack.encode(keys))
        self.keys, self.chain, self._root = keys, (document,), root
        return root

    def advance(self, document: Signed) -> TrustRoot:
        """Accept a change of trust signed by the current root, and keep it. Raises RefusedError."""
        root = next_root(self.root, document)
        chain = (*self.chain, document)
        _write_chain(self.state / TRUST_FILE, chain)
        self.chain, self._root = chain, root
        return root


def verify_chain(chain: tuple[Signed, ...], root_fingerprint: str) -> TrustRoot:
    """Verify roots from the first, named by its fingerprint, to the current one, which is returned."""
    if not chain:
        raise RefusedError("corrupt", f"{TRUST_FILE} is empty", "enrol this PC again")
    root = first_root(chain[0], root_fingerprint)
    for document in chain[1:]:
        root = next_root(root, document)
    return root


def _write_chain(path: Path, chain: tuple[Signed, ...]) -> None:
    write_private(path, msgspec.msgpack.encode(chain))


def _read_chain(path: Path) -> tuple[Signed, ...]:
    try:
        return msgspec.msgpack.decode(read_private(path), type=tuple[Signed, ...])
    except (FileNotFoundError, *UNREADABLE) as error:
        raise RefusedError("corrupt", f"{path}: {error}", "enrol this PC again") from error
