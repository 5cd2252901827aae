"""A server of the outside: answers on given TCP and UDP ports, v4 and v6. ``python outside.py PORT …``; ends with its machine."""

from __future__ import annotations

import selectors
import socket
import sys


def main() -> None:
    """Serve until killed: TCP gets a greeting and is closed, UDP is echoed."""
    selector = selectors.DefaultSelector()
    for port in map(int, sys.argv[1:]):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            server = socket.socket(socket.AF_INET6, kind)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            server.bind(("::", port))
            if kind == socket.SOCK_STREAM:
                server.listen(128)
            selector.register(server, selectors.EVENT_READ)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for key, _ in selector.select():
            server = key.fileobj  # type: ignore[assignment]
            if server.type == socket.SOCK_STREAM:
                client, _ = server.accept()
                client.sendall(b"hello from outside\n")
                client.close()
            else:
                data, peer = server.recvfrom(2048)
                server.sendto(data, peer)


if __name__ == "__main__":
    main()
