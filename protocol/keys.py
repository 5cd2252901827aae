"""Key pairs and their fingerprints.

CURVE keys (Curve25519, ZeroMQ RFC 26) authenticate connections; Ed25519 keys (RFC 8032) sign batches and documents.
A fingerprint is the first 20 bytes of SHA-256 over the public key in lower-case base32: 32 characters. An agent *is*
the fingerprint of its CURVE key.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from pathlib import Path

import msgspec
from nacl.exceptions import BadSignatureError
from nacl.public import PrivateKey
from nacl.signing import SigningKey, VerifyKey

from protocol.refusal import RefusedError


def fingerprint(public: bytes) -> str:
    """Fingerprint of a 32-byte public key."""
    return base64.b32encode(hashlib.sha256(public).digest()[:20]).decode().lower()


class CurvePair(msgspec.Struct, frozen=True):
    """A CURVE key pair; 32 raw bytes each."""

    public: bytes
    secret: bytes

    def __repr__(self) -> str:
        """Show the fingerprint, never the secret."""
        return f"CurvePair({fingerprint(self.public)})"


class SignPair(msgspec.Struct, frozen=True):
    """An Ed25519 key pair: 32-byte public key and 32-byte seed."""

    public: bytes
    seed: bytes

    def __repr__(self) -> str:
        """Show the fingerprint, never the seed."""
        return f"SignPair({fingerprint(self.public)})"

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte detached signature."""
        return SigningKey(self.seed).sign(data).signature


def new_curve_pair() -> CurvePair:
    """Make a CURVE key pair from the system's randomness."""
    secret = PrivateKey.generate()
    return CurvePair(bytes(secret.public_key), bytes(secret))


def new_sign_pair() -> SignPair:
    """Make an Ed25519 key pair from the system's randomness."""
    key = SigningKey.generate()
    return SignPair(bytes(key.verify_key), bytes(key))


def verify(public: bytes, data: bytes, signature: bytes) -> bool:
    """Tell whether ``signature`` is that of ``data`` under ``public``; malformed input is just False."""
    try:
        VerifyKey(public).verify(data, signature)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def z85(key: bytes) -> bytes:
    """ZeroMQ's text form of a 32-byte key (RFC 32).

    By hand, for base64.b85encode would leave a table of 300 KiB in the agent for good.
    """
    words = (word for (word,) in struct.iter_unpack(">I", key))
    return bytes(_Z85[word // power % 85] for word in words for power in _POWERS)


_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_POWERS = tuple(85**power for power in (4, 3, 2, 1, 0))


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` for the owner only (0600): whole or not at all, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_private(path: Path) -> bytes:
    """Read a secret; refuse one that others can read."""
    if path.stat().st_mode & 0o077:
        raise RefusedError("foreign", f"{path} can be read by others", f"chmod 600 {path}")
    return path.read_bytes()
