"""Reading bundle bytes to show them. Also used on the operator's side, so without the database."""

from __future__ import annotations

import io

import msgspec
import zstandard

from policies.bundle import MAX_BYTES
from policies.model import Bundle
from protocol.refusal import UNREADABLE, RefusedError


def read_bundle(body: bytes) -> Bundle:
    """Decode a bundle body without looking at signatures: to show it, never to obey it.

    Raises RefusedError ``malformed_body``.
    """
    try:
        with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(body)) as reader:
            plain = reader.read(MAX_BYTES + 1)
        if len(plain) > MAX_BYTES:
            raise RefusedError("malformed_body", f"this policy unpacks to more than {MAX_BYTES} bytes")
        return msgspec.msgpack.decode(plain, type=Bundle)
    except (*UNREADABLE, zstandard.ZstdError) as error:
        raise RefusedError("malformed_body", f"this is no policy bundle: {error}") from error
