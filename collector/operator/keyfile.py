"""Signing keys of people (CISO, deputies, policy desk) at rest: one file, 0600, closed with a passphrase.

The seed is sealed with XSalsa20-Poly1305 (NaCl SecretBox) under a key that argon2id (RFC 9106) makes of the passphrase.
Header (version, cost, salt, public key) is plain, so that ``sekisho keys show`` needs no passphrase; it is bound to the
seed because the seed must give exactly that public key. Costs are RFC 9106's second recommended option: 64 MiB, 3 passes.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from argon2.exceptions import HashingError
from argon2.low_level import Type, hash_secret_raw
from msgspec import Meta, Struct
from nacl.exceptions import CryptoError
from nacl.secret import SecretBox
from nacl.signing import SigningKey

from protocol.keys import SignPair, fingerprint, read_private, write_private
from protocol.refusal import UNREADABLE, RefusedError

MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4
"""argon2id cost of a new file."""
SALT_BYTES = 16
_LARGEST = 4096
"""A key file is some 300 bytes; anything much larger is not one."""


class KeyFile(Struct, frozen=True, kw_only=True):
    """What lies on disk (MessagePack). ``sealed`` is the SecretBox of the seed, or the bare seed with ``kdf`` none."""

    magic: Literal["sekisho-key-1"] = "sekisho-key-1"
    public: Annotated[bytes, Meta(min_length=32, max_length=32)]
    kdf: Literal["none", "argon2id"]
    memory_kib: Annotated[int, Meta(ge=0, le=1024 * 1024)] = 0
    passes: Annotated[int, Meta(ge=0, le=16)] = 0
    lanes: Annotated[int, Meta(ge=0, le=16)] = 0
    salt: Annotated[bytes, Meta(max_length=64)] = b""
    sealed: Annotated[bytes, Meta(max_length=256)]


def _stretch(passphrase: str, salt: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    return hash_secret_raw(
        passphrase.encode(), salt, passes, memory_kib, lanes, hash_len=SecretBox.KEY_SIZE, type=Type.ID
    )


def save_key(path: Path, pair: SignPair, passphrase: str | None) -> None:
    """Write ``pair`` to ``path`` (0600), sealed with ``passphrase``; None leaves it open (machines, tests).

    Raises FileExistsError: a key is never overwritten, for a lost key cannot be made again.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists; a key is never overwritten")
    close_anew(path, pair, passphrase)


def close_anew(path: Path, pair: SignPair, passphrase: str | None) -> None:
    """Replace the key file of ``pair`` by one under another passphrase: whole or not at all. Raises OSError."""
    if passphrase is None:
        file = KeyFile(public=pair.public, kdf="none", sealed=pair.seed)
    else:
        salt = secrets.token_bytes(SALT_BYTES)
        box = SecretBox(_stretch(passphrase, salt, MEMORY_KIB, PASSES, LANES))
        file = KeyFile(
            public=pair.public,
            kdf="argon2id",
            memory_kib=MEMORY_KIB,
            passes=PASSES,
            lanes=LANES,
            salt=salt,
            sealed=bytes(box.encrypt(pair.seed)),
        )
    write_private(path, msgspec.msgpack.encode(file))


def read_header(path: Path) -> KeyFile:
    """Read a key file without opening it.

    Raises RefusedError ``corrupt`` (not a key file), ``foreign`` (others can read it); OSError.
    """
    data = read_private(path)
    if len(data) > _LARGEST:
        raise RefusedError("corrupt", f"{path} is not a key file ({len(data)} bytes)")
    try:
        return msgspec.msgpack.decode(data, type=KeyFile)
    except UNREADABLE as error:
        raise RefusedError(
            "corrupt", f"{path} is not a key file: {error}", "give the right file, or the back-up"
        ) from error


def load_key(path: Path, passphrase: str | None) -> SignPair:
    """Open a key file.

    Raises RefusedError: ``wrong_code`` (passphrase wrong or missing), ``corrupt`` (file damaged, or its public key is not
    the seed's), ``foreign`` (others can read it); OSError.
    """
    file = read_header(path)
    seed = _open(path, file, passphrase)
    try:
        public = bytes(SigningKey(seed).verify_key)
    except ValueError as error:
        raise RefusedError("corrupt", f"{path}: the seed has {len(seed)} bytes, not 32") from error
    if public != file.public:
        raise RefusedError(
            "corrupt", f"{path}: public key {fingerprint(file.public)} is not that of the seed"
        )
    return SignPair(public, seed)


def _open(path: Path, file: KeyFile, passphrase: str | None) -> bytes:
    if file.kdf == "none":
        return file.sealed
    if passphrase is None:
        raise RefusedError(
            "wrong_code", f"{path} is closed with a passphrase", "give --passphrase-file or type it"
        )
    try:
        key = _stretch(passphrase, file.salt, file.memory_kib, file.passes, file.lanes)
        return bytes(SecretBox(key).decrypt(file.sealed))
    except CryptoError as error:
        raise RefusedError("wrong_code", f"the passphrase of {path} is wrong", "type it again") from error
    except (ValueError, HashingError) as error:
        raise RefusedError("corrupt", f"{path}: {error}") from error


def public_text(public: bytes, comment: str = "") -> str:
    """A public key as a line of text: 64 hex digits, fingerprint, comment."""
    return f"{public.hex()} {fingerprint(public)} {comment}".rstrip() + "\n"


def read_public(path: Path) -> bytes:
    """Read what :func:`public_text` wrote. Raises RefusedError ``corrupt``; OSError."""
    words = path.read_text(encoding="ascii", errors="replace").split()
    try:
        public = bytes.fromhex(words[0])
    except (ValueError, IndexError) as error:
        raise RefusedError("corrupt", f"{path} is not a public key file", "give the .pub file") from error
    if len(public) != 32 or (len(words) > 1 and words[1] != fingerprint(public)):  # noqa: PLR2004 - bytes of a key
        raise RefusedError("corrupt", f"{path} is not a public key, or was changed", "give the .pub file")
    return public
