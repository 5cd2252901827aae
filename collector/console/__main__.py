"""``python -m collector.console --data DIR --port 7480``: the API process, started by ``sekisho-collector``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import uvicorn

from collector.config import DEFAULT_DATA
from collector.console.app import create_app
from protocol.refusal import RefusedError


def main(argv: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT. Exit code 1 when the data directory cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m collector.console", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="the collector's data directory")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; keep it on loopback")
    parser.add_argument("--port", type=int, default=7480)
    options = parser.parse_args(argv)
    try:
        app = create_app(options.data)
    except RefusedError as error:
        print(f"sekisho api: {error}", file=sys.stderr)  # noqa: T201  -- read by whoever starts the service
        return 1
    uvicorn.run(
        app,
        host=options.host,
        port=options.port,
        access_log=False,  # the audit log is the record of calls
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=3,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
