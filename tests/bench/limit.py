"""The bare limit of ingest: CURVE + journal with fsync + typed decode, and nothing else, in two processes.

``python -m tests.bench.limit FOLDER`` says ``{"address": …, "server": HEX}``; ends when its parent closes its standard input.
"""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import sys
from pathlib import Path

import msgspec
import zmq
import zstandard

from protocol import wire
from protocol.events import decode_events
from protocol.keys import new_curve_pair, z85
from protocol.messages import Batch, BatchAck

GROUP = 64


def decode_all(address: str) -> None:
    """Decode every body with its types; answers an empty message with the count so far."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    inlet = context.socket(zmq.PAIR)
    inlet.setsockopt(zmq.RCVHWM, 0)
    inlet.connect(address)
    expander = zstandard.ZstdDecompressor()
    count = 0
    while True:
        body = inlet.recv()
        if body:
            count += len(decode_events(expander.decompress(body)))
        else:
            inlet.send(str(count).encode())


def serve(folder: Path) -> None:
    """Receive, journal, acknowledge, hand on to the decoder."""
    keys = new_curve_pair()
    inner = f"ipc://{folder / 'limit.pair'}"
    multiprocessing.get_context("spawn").Process(target=decode_all, args=(inner,), daemon=True).start()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    decoder_end = context.socket(zmq.PAIR)
    decoder_end.setsockopt(zmq.SNDHWM, 0)  # the decoder may fall behind without holding up the journal
    decoder_end.bind(inner)
    router = context.socket(zmq.ROUTER)
    router.curve_server, router.curve_publickey, router.curve_secretkey = (
        True,
        z85(keys.public),
        z85(keys.secret),
    )
    port = router.bind_to_random_port("tcp://127.0.0.1")
    journal = sqlite3.connect(folder / "limit.db", isolation_level=None)
    journal.execute("PRAGMA journal_mode=WAL")
    journal.execute("PRAGMA synchronous=FULL")
    journal.execute(
        "CREATE TABLE batches (id INTEGER PRIMARY KEY, peer BLOB, seq INTEGER, count INTEGER, body BLOB)"
    )
    decoder = msgspec.msgpack.Decoder(Batch)
    print(json.dumps({"address": f"tcp://127.0.0.1:{port}", "server": keys.public.hex()}), flush=True)
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(sys.stdin.fileno(), zmq.POLLIN)
    while True:
        if any(socket == sys.stdin.fileno() for socket, _ in poller.poll()):
            line = sys.stdin.readline()
            if not line:
                return
            decoder_end.send(b"")
            print(json.dumps({"decoded": int(decoder_end.recv())}), flush=True)
            continue
        group: list[tuple[bytes, Batch]] = []
        while len(group) < GROUP and int(router.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            peer, frame = router.recv_multipart()
            group.append((peer, decoder.decode(frame)))
        rows = [(peer, batch.first_seq, batch.count, batch.body) for peer, batch in group]
        journal.execute("BEGIN")
        journal.executemany("INSERT INTO batches (peer, seq, count, body) VALUES (?, ?, ?, ?)", rows)
        journal.execute("COMMIT")
        for peer, batch in group:
            router.send_multipart([peer, wire.encode(BatchAck(seq=batch.first_seq + batch.count - 1))])
            decoder_end.send(batch.body)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
