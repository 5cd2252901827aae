"""Refusals at the trust border: every one has a name that is counted, logged and told to the peer."""

from __future__ import annotations

from typing import Literal

import msgspec

RefusalName = Literal[
    # frames
    "oversized", "truncated", "wrong_tag", "wrong_type", "wrong_lane", "version", "malformed_body",
    # senders
    "unknown_key", "revoked_key", "quarantined_key", "bad_signature", "bad_proof",
    # enrolment
    "token_unknown", "token_expired", "token_used_up",
    # data lane
    "bad_digest", "replayed_batch", "forked_batch", "bad_event",
    # signed documents
    "unsigned", "foreign", "expired", "stale", "replayed", "older_generation", "role_missing", "wrong_target",
    "untested",
    # registers
    "not_found", "already_there", "self_approval", "bad_value", "wrong_state",
    # local conditions
    "disk_full", "overloaded", "collector_unreachable", "not_isolated", "counter_closed", "wrong_code", "corrupt",
]  # fmt: skip


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""All that decoding hostile bytes with msgspec can raise: a tag that is not UTF-8 and deep nesting have their own."""


class RefusedError(Exception):
    """Input that was refused.

    ``name`` is the stable code (counter label, health code, API error type); ``detail`` says what and where,
    ``hint`` what to do next. Neither may hold secrets or personal data.
    """

    def __init__(self, name: RefusalName, detail: str, hint: str = "") -> None:
        super().__init__(f"{name}: {detail}" + (f" ({hint})" if hint else ""))
        self.name: RefusalName = name
        self.detail = detail
        self.hint = hint
