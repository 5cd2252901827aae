"""One file, from bytes to finding. Whatever is in it, this ends with a named state."""

from __future__ import annotations

import hashlib
import io
import os

from agent.scan import formats
from agent.scan.job import Finding, Job
from agent.scan.labels import normalise
from agent.scan.sink import Sink, Stop


def examine(file: io.BufferedReader | io.BytesIO, job: Job) -> Finding:
    """Look at an open file from its beginning. Never raises but ``Stop`` out of a signal that came too late."""
    sink = Sink(job.limits, job.marks)
    digest = look(file, job, sink)
    count, masked = sink.detector.result()
    return Finding(
        number=job.number,
        state=sink.state,
        my_numbers=count,
        masked=masked,
        labels=tuple(sink.labels.found)[:64],
        digest=digest,
    )


def look(file: io.BufferedReader | io.BytesIO, job: Job, sink: Sink) -> str:
    """Read a file into the sink until the end or a limit; returns its SHA-256, empty when it is too large for that."""
    digest = ""
    try:
        sink.labels.look(normalise(job.name))
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if size > job.limits.file_bytes:
            sink.note("too_large")
            file = io.BytesIO(file.read(job.limits.file_bytes))
        else:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
        formats.read(file, job.name, sink)
        sink.end()
    except Stop as stop:
        sink.note(stop.state)
    except MemoryError:
        sink.note("too_large")
    except RecursionError:
        sink.note("too_deep")
    except Exception:  # noqa: BLE001 - a reader's mistake must not let a file pass as looked at
        sink.note("unreadable")
    return digest
