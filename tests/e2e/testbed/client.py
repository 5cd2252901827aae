"""A short-lived client: ``python client.py tcp|udp ADDRESS PORT`` says ``{"ok": …, "ms": …}`` and ends."""

from __future__ import annotations

import json
import socket
import sys
import time


def main() -> None:
    """Connect (TCP) or send and wait for the echo (UDP), at most 1.5 s."""
    kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    begin = time.monotonic()
    client = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    client.settimeout(1.5)
    try:
        if kind == "tcp":
            client.connect((address, port))
        else:
            client.sendto(b"hello", (address, port))
        worked = bool(client.recv(64))
        why = ""
    except OSError as error:
        worked, why = False, str(error)
    sys.stdout.write(json.dumps({"ok": worked, "ms": (time.monotonic() - begin) * 1000, "why": why}))


if __name__ == "__main__":
    main()
