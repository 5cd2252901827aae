"""Where the collector's files lie, and the few settings that are not in the control database.

``collector.toml`` in the data directory; a missing file or key means the default. Ports that PCs dial are in the signed
trust root, not here: PCs and collector cannot disagree about them.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from protocol.keys import CurvePair, read_private, write_private
from protocol.refusal import UNREADABLE, RefusedError

DEFAULT_DATA = Path("/var/lib/sekisho-collector")
Port = Annotated[int, Meta(ge=1, le=65535)]


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of one collector."""

    bind: tuple[str, ...] = ("*",)
    """Addresses the lanes listen on; ``*`` = all, IPv4 and IPv6."""
    api_bind: str = "127.0.0.1"
    api_port: Port = 7480
    min_free_mib: Annotated[int, Meta(ge=0)] = 256
    """Below this much free space the journal takes nothing more, so that the control database still can."""


class Layout(Struct, frozen=True):
    """Files below the data directory (0700)."""

    data: Path

    @property
    def journal(self) -> Path:
        """Batches as the PCs signed them."""
        return self.data / "journal.db"

    @property
    def control(self) -> Path:
        """Registers, orders, releases, alerts."""
        return self.data / "control.db"

    @property
    def keys(self) -> Path:
        """Directory of the collector's own key (0700)."""
        return self.data / "keys"

    @property
    def curve_key(self) -> Path:
        """The collector's CURVE key pair (0600)."""
        return self.keys / "collector.curve"

    @property
    def run(self) -> Path:
        """Sockets and statistics of running processes (0700)."""
        return self.data / "run"

    @property
    def config(self) -> Path:
        """Settings."""
        return self.data / "collector.toml"

    @property
    def policy(self) -> Path:
        """The site's policy file (``collector.desk.site``)."""
        return self.data / "policy.yaml"

    @property
    def stats(self) -> Path:
        """Counters of the gateway, written every two seconds."""
        return self.run / "gateway.stats.json"


def read_config(layout: Layout) -> Config:
    """Read ``collector.toml``. Raises RefusedError ``malformed_body`` with file and field."""
    try:
        raw = tomllib.loads(layout.config.read_text(encoding="utf-8"))
        return msgspec.convert(raw, Config)
    except FileNotFoundError:
        return Config()
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise RefusedError("malformed_body", f"{layout.config}: {error}", "correct that line") from error


def write_config(layout: Layout, config: Config) -> None:
    """Write ``collector.toml`` (0600)."""
    addresses = ", ".join(f'"{address}"' for address in config.bind)
    text = (
        "# 関所 収集サーバーの設定 / settings of the Sekisho collector\n"
        f"bind = [{addresses}]\n"
        f'api_bind = "{config.api_bind}"\n'
        f"api_port = {config.api_port}\n"
        f"min_free_mib = {config.min_free_mib}\n"
    )
    write_private(layout.config, text.encode())


def read_curve_key(layout: Layout) -> CurvePair:
    """The collector's key. Raises RefusedError ``foreign`` (others can read it) or ``corrupt``; OSError."""
    raw = read_private(layout.curve_key)
    try:
        return msgspec.msgpack.decode(raw, type=CurvePair)
    except UNREADABLE as error:
        raise RefusedError(
            "corrupt", f"{layout.curve_key} is not a key file", "put the back-up in place"
        ) from error


def write_curve_key(layout: Layout, pair: CurvePair) -> None:
    """Store the collector's key (0600). Raises FileExistsError: PCs that enrolled believe the old one."""
    if layout.curve_key.exists():
        raise FileExistsError(f"{layout.curve_key} exists; a key is never overwritten")
    write_private(layout.curve_key, msgspec.msgpack.encode(pair))
