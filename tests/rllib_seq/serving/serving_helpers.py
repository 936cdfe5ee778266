"""A server in a thread or a process and how to talk to it; a policy that always bids."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path

import numpy as np
import uvicorn

from rllib_seq.serving.decisions import BidQuery
from rllib_seq.serving.http.connections import Connections, bounded_protocol
from rllib_seq.serving.http.faces import app_of, open_any

HOUR = 3600.0
TOKEN = "a token of sufficient length"
LEAN = Path(__file__).with_name("serving_lean.py")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Client:
    """One connection."""

    def __init__(self, port, token=None):
        self.port = port
        self.headers = {"authorization": f"Bearer {token}"} if token else {}
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def __call__(self, method, path, body=None, **headers):
        """Status, headers and body (JSON if it is some)."""
        if isinstance(body, dict | list):
            body = json.dumps(body)
        self._connection.request(method, path, body, {**self.headers, **headers})
        answer = self._connection.getresponse()
        content = answer.read()
        with contextlib.suppress(ValueError):
            content = json.loads(content)
        return answer.status, content

    def bid(self, user, **changes):
        """One bid request of a user; a fleet keeps them on one replica."""
        request = request_of(user, **changes)
        return self("POST", "/openrtb2/bid", request, **{"x-session-id": user})

    def close(self):
        self._connection.close()


def bid_on(client, user, **changes):
    """The first bid that a user gets."""
    for _ in range(50):
        status, answer = client.bid(user, **changes)
        if status == 200 and "seatbid" in answer:
            return answer["seatbid"][0]["bid"][0]
    raise AssertionError("the policy never bids")


def path_of(url, price=None):
    """What an exchange calls: macros filled in."""
    parts = urllib.parse.urlsplit(url)
    return f"{parts.path}?{parts.query}".replace("${AUCTION_PRICE}", str(price))


def path_of_bid(answer, name, price=None):
    """What an exchange calls for the first bid of an answer."""
    return path_of(answer["seatbid"][0]["bid"][0][name], price)


def request_of(name, channel="display", floor=0.0, **changes):
    imp = {"id": "1", "banner": {"w": 300, "h": 250}, "ext": {"channel": channel}}
    return {"id": "r", "imp": [{**imp, "bidfloor": floor}], "user": {"id": name}, **changes}


@contextlib.contextmanager
def running(settings):
    """A server in a thread; yields its port and its service."""
    service = open_any(settings)
    bounds = Connections.of(settings)
    app = app_of(settings, lambda: service, bounds)
    config = uvicorn.Config(
        app,
        http=bounded_protocol(bounds, getattr(app, "direct", None)),
        port=free_port(),
        log_level="error",
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_for(lambda: server.started)
    try:
        yield config.port, service
    finally:
        server.should_exit = True
        thread.join(10)


@contextlib.contextmanager
def process(*arguments, hide=True, **environment):
    """`rllib-seq serve ...` as a process (without Ray and torch); yields it and its port."""
    port = free_port()
    command = [sys.executable, LEAN, *["--hide"] * hide, "serve", *arguments, "--port", port]
    child = subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for(lambda: healthy(port) or child.poll() is not None)
        assert child.poll() is None, child.stderr.read()
        yield child, port
    finally:
        child.kill()
        child.communicate()


def healthy(port):
    """Whether a server answers that it can work."""
    client = Client(port)
    try:
        return client("GET", "/healthz")[0] == 200
    except OSError:
        return False
    finally:
        client.close()


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_for(condition, seconds=600):
    """Until a condition holds; only a hang reaches the limit."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def ask(user, floor=0.0):
    return BidQuery(user, 0, 0, 0, floor)


def past_of(service, user):
    """The window of a user who is in memory."""
    return service.sessions.past(np.array([service.sessions.find(user)]))


class AlwaysBids:
    """The policy of an export, but for what it does."""

    def __init__(self, policy, action):
        self.spec, self.action = policy.spec, action

    def act(self, observation, past, memory):
        return np.full(len(observation), self.action), memory


def always(service, action):
    service.replace(AlwaysBids(service.policy, action))
