"""What the isolation enforcer writes down before it acts (DESIGN §8: journal → act → read back → record).

Files of the state directory, all 0600, each replaced whole and on disk when a call returns:
``isolation.signed`` (the standing orders, as signed), ``isolation.nft`` (loaded by the unit before the network at boot),
``orders.seen`` (every order ever taken up), ``isolation.released`` (the code that lifted an isolation beside the
resident agent), ``isolation.tries`` (wrong codes).

Before a cut only ``isolation.journal`` is written, in one wait for the disk: on a busy one each costs milliseconds in
which packets still leave. The files follow after the cut; after a crash in between they are made from the journal.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from protocol.keys import read_private
from protocol.messages import OrderResult
from protocol.refusal import UNREADABLE, RefusedError
from protocol.signed import Signed

SIGNED, RULES, SEEN = "isolation.signed", "isolation.nft", "orders.seen"
RELEASED, TRIES = "isolation.released", "isolation.tries"
AHEAD = "isolation.journal"
_KEPT = 4096
"""Orders remembered; those older than the oldest remembered are refused by their issue time."""
_FREE_TRIES, _WAIT_US = 10, 60_000_000
"""Wrong codes before each further try must wait a minute."""

_DIGEST_BYTES = 32

Body = TypeVar("Body")


class Taken(Struct, frozen=True):
    """An order that was taken up, and what became of it."""

    order_id: str
    digest: bytes
    issued_us: int
    result: OrderResult | None = None


class Seen(Struct, frozen=True):
    """Body of ``orders.seen``: the newest signed time, the time before which nothing is taken, and the orders."""

    newest_us: int = 0
    floor_us: int = 0
    taken: tuple[Taken, ...] = ()

    def find(self, order_id: str) -> Taken | None:
        """An order by id."""
        return next((one for one in self.taken if one.order_id == order_id), None)

    def plus(self, one: Taken) -> Seen:
        """With one more order, or another result of a known one."""
        others = [known for known in self.taken if known.order_id != one.order_id]
        kept = (*others, one)[-_KEPT:]
        floor = max([self.floor_us, *(gone.issued_us for gone in others[: len(others) + 1 - len(kept)])])
        return Seen(max(self.newest_us, one.issued_us), floor, kept)


class Release(Struct, frozen=True):
    """Proof for the resident agent that a release was no tampering: the code itself, spent by now."""

    order_id: str
    code: str


class Tries(Struct, frozen=True):
    """Wrong codes so far, and when the last was given (UTC µs)."""

    wrong: int = 0
    last_us: int = 0

    def wait_us(self, now_us: int) -> int:
        """How long until the next try may be made. A clock set back does not shorten it."""
        if self.wrong < _FREE_TRIES:
            return 0
        return max(0, min(_WAIT_US, self.last_us + _WAIT_US - now_us))


class Intent(Struct, frozen=True):
    """Body of ``isolation.journal``: the files as they will be."""

    standing: tuple[Signed, ...]
    boot_rules: str
    seen: Seen


def digest_of(document: Signed) -> bytes:
    """Identity of an order's exact bytes."""
    return hashlib.sha256(document.body).digest()


class Journal:
    """The files. Raises OSError when the disk does, RefusedError ``corrupt`` or ``foreign`` for a file not to be trusted."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def standing(self) -> tuple[Signed, ...]:
        """The orders in force, oldest first."""
        return self._load(SIGNED, tuple[Signed, ...], ())

    def mark(self) -> tuple[int, int]:
        """Changes when another process changed what stands; costs one stat."""
        try:
            found = (self._state / SIGNED).stat()
        except FileNotFoundError:
            return 0, 0
        return found.st_mtime_ns, found.st_ino

    def rules(self) -> str:
        """What is loaded at boot. Raises FileNotFoundError."""
        return (self._state / RULES).read_text(encoding="utf-8")

    def seen(self) -> Seen:
        """Orders taken up so far."""
        return self._load(SEEN, Seen, Seen())

    def release(self) -> Release | None:
        """The last release by code."""
        return self._load(RELEASED, Release | None, None)  # type: ignore[arg-type]

    def tries(self) -> Tries:
        """Wrong codes so far."""
        return self._load(TRIES, Tries, Tries())

    def prepare(self) -> bool:
        """Have the journal's file there, and finish what a crash left half done; tells if there was something."""
        path = self._state / AHEAD
        created = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "rb") as file:
            digest, data = file.read(_DIGEST_BYTES), file.read()
        if created:
            self._sync()
        if not data or hashlib.sha256(data).digest() != digest:
            return False
        self.settle(msgspec.msgpack.decode(data, type=Intent))
        return True

    def begin(self, intent: Intent) -> None:
        """Before the cut. A record that is torn by a power loss does not count: nothing was done yet."""
        data = msgspec.msgpack.encode(intent)
        self._write_ahead(hashlib.sha256(data).digest() + data)

    def settle(self, intent: Intent) -> None:
        """After the cut: the files, then an empty journal."""
        self._replace(
            {
                RULES: intent.boot_rules.encode(),
                SIGNED: msgspec.msgpack.encode(intent.standing),
                SEEN: msgspec.msgpack.encode(intent.seen),
            }
        )
        self._write_ahead(b"")

    def _write_ahead(self, data: bytes) -> None:
        descriptor = os.open(self._state / AHEAD, os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno())

    def record(self, seen: Seen) -> None:
        """Note an order that changes no standing one, or a result."""
        self._replace({SEEN: msgspec.msgpack.encode(seen)})

    def refresh(self, boot_rules: str) -> None:
        """The way to the collector changed."""
        self._replace({RULES: boot_rules.encode()})

    def remain(self, standing: tuple[Signed, ...]) -> None:
        """After a release: the orders that still stand; none = the files go, rules first, so that a boot is free."""
        if standing:
            self._replace({SIGNED: msgspec.msgpack.encode(standing)})
            return
        for name in (RULES, SIGNED, TRIES):
            (self._state / name).unlink(missing_ok=True)
        self._sync()

    def note_release(self, release: Release) -> None:
        """Before a release by code."""
        self._replace({RELEASED: msgspec.msgpack.encode(release)})

    def note_wrong(self, tries: Tries) -> None:
        """A wrong code."""
        self._replace({TRIES: msgspec.msgpack.encode(tries)})

    def _load(self, name: str, kind: type[Body], default: Body) -> Body:
        path = self._state / name
        try:
            return msgspec.msgpack.decode(read_private(path), type=kind)
        except FileNotFoundError:
            return default
        except UNREADABLE as error:
            raise RefusedError("corrupt", f"{path}: {error}", "keep the file and tell IT staff") from error

    def _replace(self, files: dict[str, bytes]) -> None:
        """Write all, sync all, then rename in order: one wait for the disk each, one for the directory."""
        temporary = {name: self._state / f".{name}.{os.getpid()}.tmp" for name in files}
        try:
            for name, data in files.items():
                descriptor = os.open(
                    temporary[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600
                )
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fdatasync(file.fileno())
            for name in files:
                temporary[name].replace(self._state / name)
        finally:
            for path in temporary.values():
                path.unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        directory = os.open(self._state, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
