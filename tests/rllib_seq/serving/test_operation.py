"""What must not end a server, or keep others waiting, while it runs as a process of its own."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving_helpers import (
    TOKEN,
    Client,
    bid_on,
    free_port,
    path_of,
    process,
    request_of,
    running,
    wait_for,
)

from rllib_seq.errors import UserError
from rllib_seq.serving.http.connections import bound_socket
from rllib_seq.serving.settings import Settings
from rllib_seq.serving.trajectories import TrajectoryWriter

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def settings_of(policy, **changes):
    chosen = {"state": ":memory:", "max_users": 512, "tmax_ms": 5000.0, **changes}
    return Settings(export=str(policy.folder), **chosen)


@pytest.mark.slow
def test_heads_that_do_not_come_are_cut_off(journey):
    with running(settings_of(journey, head_seconds=1.0)) as (port, _):
        parts = (b"", b"POST /openrtb2/bid HT", b"GET /healthz HTTP/1.1\r\nx: ")
        for slow, sent in [(socket.create_connection(("127.0.0.1", port)), sent) for sent in parts]:
            slow.settimeout(600)
            slow.sendall(sent)
            said = b"".join(iter(lambda slow=slow: slow.recv(1000), b""))  # until it is closed
            assert said.startswith(b"HTTP/1.1 408")
            assert json.loads(said.partition(b"\r\n\r\n")[2])["detail"]
            slow.close()
        with socket.create_connection(("127.0.0.1", port)) as again:
            again.settimeout(600)
            again.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert again.recv(1000).startswith(b"HTTP/1.1 200")
            again.sendall(b"GET /healthz HTTP/1.1\r\n")
            assert again.recv(1000).startswith(b"HTTP/1.1 408")
        text = Client(port)("GET", "/metrics")[1]
        assert b'rllib_seq_closed_connections_total{why="slow_head"} 4.0' in text


def test_one_address_does_not_take_all_connections(journey):
    with running(settings_of(journey, max_connections_per_address=3)) as (port, _):
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        refused = socket.create_connection(("127.0.0.1", port))
        refused.settimeout(600)
        try:
            assert refused.recv(10) == b""
        except ConnectionResetError:
            pass
        for each in held:
            each.close()
        refused.close()

        def answered():
            try:
                return Client(port)("GET", "/healthz")[0] == 200
            except OSError:
                return False

        wait_for(answered)


BID = "/openrtb2/bid"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (BID, {"host": "localhost:1"}, 200),
        (BID, {"host": "[::1]:8080"}, 200),
        (BID, {"host": "bids.example.com"}, 200),
        (BID, {"host": "evil.example"}, 403),
        (BID, {"host": "127.0.0.1.evil.example"}, 403),
        ("/live", {"host": "evil.example:80"}, 403),
        ("/notice/win?bid=x&price=1", {"host": "evil.example"}, 403),
        (BID, {"origin": "https://evil.example"}, 403),
        (BID, {"origin": "null"}, 403),
        (BID, {"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        (BID, {"host": "localhost:1", "origin": "http://localhost:2"}, 403),
        ("/notice/click?bid=x", {"origin": "https://publisher.example"}, 200),
        ("/notice/visit?user=u&event=1", {"origin": "https://evil.example"}, 403),
        ("/notice/visit?user=u&event=1", {"sec-fetch-site": "cross-site"}, 403),
        ("/", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
    ],
)
def test_pages_of_other_sites_may_not_ask_a_server_without_a_token(path, headers, status, shared):
    client = Client(shared)
    body = request_of("x") if path == BID else None
    found = client("POST" if body else "GET", path, body, **headers)[0]
    assert found in ((200, 204) if status == 200 else (status,))
    client.close()


@pytest.fixture(scope="module")
def shared(journey):
    with running(settings_of(journey, public_url="https://bids.example.com")) as (port, _):
        yield port


def test_the_page_of_the_api_needs_no_network_and_shows_all(journey):
    with running(settings_of(journey, token=TOKEN)) as (port, _):
        assert Client(port)("GET", "/docs")[0] == 401
        page = Client(port)("GET", f"/docs?token={TOKEN.replace(' ', '+')}")[1].decode()
    assert not re.search(r"<(script|link|img|iframe)|https?://|url\(", page)
    for text in ("POST /openrtb2/bid", "GET /notice/{kind}", "bidfloor", "AUCTION_PRICE", "503"):
        assert text in page


@pytest.mark.slow
def test_health_says_when_the_state_is_gone(journey, tmp_path):
    path = tmp_path / "s.sqlite"
    with running(settings_of(journey, state=str(path))) as (port, _):
        client = Client(port)
        assert client("GET", "/healthz")[1]["status"] == "ok"
        path.rename(tmp_path / "elsewhere")
        wait_for(lambda: client("GET", "/healthz")[0] == 503)
        assert "moved or deleted" in client("GET", "/healthz")[1]["status"]
        assert client.bid("a")[1]["nbr"] == 1
        (tmp_path / "elsewhere").rename(path)
        wait_for(lambda: client("GET", "/healthz")[0] == 200)
        bid_on(client, "a")


def harm_nothing(folder):
    (folder / "spec.json").write_text((folder / "spec.json").read_text() + " ")


HARMS = {
    "bytes": lambda spec: spec.write_bytes(os.urandom(1000)),
    "nested": lambda spec: spec.write_text("[" * 100_000),
    "numbers": lambda spec: spec.write_text('{"format": 2, "model": 5}'),
    "folder": lambda spec: (spec.unlink(), spec.mkdir()),
    "model": lambda spec: spec.write_text(spec.read_text().replace('"model-', '"modem-')),
}


@pytest.mark.slow
def test_the_watcher_survives_any_file(journey, tmp_path):
    folder = tmp_path / "export"
    shutil.copytree(journey.folder, folder)
    spec = (folder / "spec.json").read_text()
    with running(Settings(export=str(folder), state=":memory:", max_users=64)) as (port, service):
        client, old = Client(port), service.policy
        for number, harm in enumerate(HARMS.values(), 1):
            harm(folder / "spec.json")

            def refused(number=number):
                assert client.bid("a")[0] in (200, 204)
                return client("GET", "/live")[1]["reloads"]["refused"] == number

            wait_for(refused)
            assert service.policy is old
            assert client("GET", "/healthz")[1]["status"] == "ok"
            if (folder / "spec.json").is_dir():
                (folder / "spec.json").rmdir()
            (folder / "spec.json").unlink(missing_ok=True)
            (folder / "new").write_text(spec + " " * number)
            (folder / "new").rename(folder / "spec.json")
            wait_for(lambda n=number: client("GET", "/live")[1]["reloads"]["done"] == n)
            old = service.policy


@pytest.mark.slow
def test_a_full_disk_is_one_line_a_second_and_loses_nothing(journey, tmp_path):
    """The system refuses to write more, as on a full disk; then there is room again."""
    state = tmp_path / "state.sqlite"
    with process(journey.folder, "--state", state, "--budget", 5) as (child, port):
        client = Client(port)
        bids = [bid_on(client, f"user {i}") for i in range(4)]
        assert client("GET", path_of(bids[0]["nurl"], 10.0))[1] == {"status": "counted"}
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        began = time.monotonic()
        refused = 0
        for number in range(300):
            status, answer = client.bid(f"more {number}")
            assert status in (200, 204)
            refused += status == 200 and answer.get("nbr") in (1, 15)  # failed, or late
            status = client("GET", path_of(bids[1]["nurl"], 10.0))[0]
            assert status == 503
        assert refused == 300
        wait_for(lambda: client("GET", "/healthz")[0] == 503)  # it looks once a second
        seconds = time.monotonic() - began
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, UNLIMITED)
        wait_for(lambda: client("GET", "/healthz")[0] == 200)
        assert client("GET", path_of(bids[1]["nurl"], 10.0))[1] == {"status": "counted"}
        bid_on(client, "after")
        totals = client("GET", "/live")[1]["totals"]
        assert totals["spend"] == pytest.approx(0.02)
        child.send_signal(signal.SIGTERM)
        wait_for(lambda: child.poll() is not None)
        lines = child.stderr.read().splitlines()
    reported = [
        line for line in lines if "cannot" in line or "could not" in line or "failed" in line
    ]
    assert 1 <= len(reported) <= 4 * (seconds + 3)  # bids, notices, the log; each once a second
    assert not any("Traceback" in line for line in lines)


def test_records_wait_for_room_on_the_disk(tmp_path, monkeypatch):
    import numpy as np

    folder = tmp_path / "records"
    writer = TrajectoryWriter(str(folder), {})
    ones = np.ones(1, np.int64)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        writer.steps(ones, ones, 0.0, np.zeros((1, 3), np.float32), ones)
        writer.close()  # cannot, and does not raise
        assert list(folder.iterdir()) == []
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    writer.close()
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    full = TrajectoryWriter(str(folder), {}, most_bytes=10.0)
    full.steps(ones, ones, 0.0, np.zeros((1, 3), np.float32), ones)
    full.close()
    assert list(folder.iterdir()) == [file]


def test_hosts_and_ports_that_are_none():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"cannot listen on 127.0.0.1, port {port}: Address al"):
            bound_socket("127.0.0.1", port)
    for host, port, words in (
        ("127.0.0.1", 70_000, "--port is 70000"),
        ("127.0.0.1", -1, "--port is -1"),
        ("no such host", 0, "--host 'no such host' is no address"),
        ("192.0.2.1", free_port(), "cannot listen on 192.0.2.1"),
    ):
        with pytest.raises(UserError, match=words):
            bound_socket(host, port)


_TELLS_MODULES = """
import atexit, os, signal, sys
def tell(*_):
    with open(os.environ["TELL_MODULES"], "w") as file:
        file.write("\\n".join(sys.modules))
    os.replace(os.environ["TELL_MODULES"], os.environ["TELL_MODULES"] + ".done")
signal.signal(signal.SIGUSR1, tell)
"""


@pytest.mark.slow
def test_a_server_process_imports_neither_torch_nor_ray(journey, tmp_path):
    """Both are installed; what `rllib-seq serve` has loaded is read off the running process."""
    (tmp_path / "sitecustomize.py").write_text(_TELLS_MODULES)
    port, reported = free_port(), tmp_path / "modules"
    program = shutil.which("rllib-seq", path=str(Path(sys.executable).parent))
    child = subprocess.Popen(
        [program, "serve", journey.folder, "--port", str(port), "--state", tmp_path / "s.sqlite"],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "TELL_MODULES": str(reported)},
        stderr=subprocess.DEVNULL,
    )
    try:
        client = None

        def bids():
            nonlocal client
            assert child.poll() is None
            try:
                client = Client(port)
                return client.bid("a")[0] in (200, 204)
            except OSError:
                return False

        wait_for(bids)
        child.send_signal(signal.SIGUSR1)
        wait_for(Path(f"{reported}.done").exists)
    finally:
        child.kill()
        child.wait()
    modules = Path(f"{reported}.done").read_text().splitlines()
    assert "onnxruntime" in modules
    loaded = {name.split(".")[0] for name in modules}
    assert loaded & {"torch", "ray", "pandas", "pyarrow"} == set()
