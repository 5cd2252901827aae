import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tests.collector.console.world import World
from tests.netns import until


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def test_the_process_serves_on_loopback_and_ends_on_sigterm(tmp_path: Path) -> None:
    World(tmp_path).console.close()
    port = free_port()
    command = [sys.executable, "-m", "collector.console", "--data", str(tmp_path), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            until(lambda: answers(f"http://127.0.0.1:{port}/api/v1/health"), "the API", 20)
        finally:
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=15)
    # uvicorn hands the signal on to itself after an orderly shutdown
    assert (process.returncode, err) == (-signal.SIGTERM, "")


def test_a_directory_that_is_no_collector_is_refused_by_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "collector.console", "--data", str(tmp_path), "--port", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, "version:" in done.stderr, "Traceback" in done.stderr) == (1, True, False)
