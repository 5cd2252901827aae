"""``python -m collector.detection --data DIR``: the detector process, started by the collector's supervisor."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from collector.detection.runtime import run
from protocol.refusal import RefusedError


def main() -> int:
    """Run until SIGTERM; 2 = refused to start, with the reason on stderr."""
    parser = argparse.ArgumentParser(
        prog="collector.detection", description="decode, index and flag journaled batches"
    )
    parser.add_argument("--data", type=Path, required=True, help="data directory of the collector")
    try:
        run(parser.parse_args().data)
    except RefusedError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
