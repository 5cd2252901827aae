"""``python -m collector.child gateway|detector|api --data DIR --parent PID``: one process of the collector."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from msgspec.structs import replace

from collector.config import Layout, read_config
from collector.runtime import CHILDREN, REFUSED_EXIT, end_with_parent, only_one, raise_file_limit, say
from protocol.refusal import RefusedError


def run_gateway(layout: Layout, bind: tuple[str, ...]) -> None:
    """Serve the lanes until SIGTERM. Raises RefusedError."""
    from collector.desk.trust import trust_in_force
    from collector.gateway.service import Gateway, ports_of
    from collector.registers.store import open_store

    raise_file_limit()
    store = open_store(layout.control)
    with store.read() as session:
        root = trust_in_force(session)
    config = read_config(layout)
    gateway = Gateway(layout, replace(config, bind=bind or config.bind), ports_of(root), store=store)

    def stop(_number: int, _frame: FrameType | None) -> None:
        gateway.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    gateway.run()


def run_detector(layout: Layout) -> None:
    """Decode, index and flag until SIGTERM. Raises RefusedError."""
    from collector.detection.runtime import run

    run(layout.data)


def run_api(layout: Layout, host: str, port: int) -> int:
    """Serve the API until SIGTERM."""
    from collector.console.__main__ import main as serve

    return serve(["--data", str(layout.data), "--host", host, "--port", str(port)])


def main(argv: list[str] | None = None) -> int:
    """Run one child; exit code 78 when it was refused to start, with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m collector.child", description=__doc__)
    parser.add_argument("name", choices=CHILDREN)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("--api-bind", default="127.0.0.1")
    parser.add_argument("--api-port", type=int, default=7480)
    options = parser.parse_args(argv)
    layout = Layout(options.data)
    try:
        end_with_parent(options.parent)
        with only_one(layout, options.name):
            if options.name == "gateway":
                run_gateway(layout, tuple(options.bind))
            elif options.name == "detector":
                run_detector(layout)
            else:
                return REFUSED_EXIT if run_api(layout, options.api_bind, options.api_port) else 0
    except RefusedError as error:
        say(f"{options.name}: {error}")
        return REFUSED_EXIT
    return 0


if __name__ == "__main__":
    sys.exit(main())
