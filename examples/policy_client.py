"""Acts with a served policy, with nothing but Python's standard library.

    rllib-seq export runs/RUN policy
    rllib-seq serve policy --state sessions.sqlite
    python examples/policy_client.py

A session is a stream that the server remembers: an episode, a user, a machine.
"""

import json
import urllib.request
from typing import Any


class PolicyClient:
    """A session with a server; `token` is its RLLIB_SEQ_TOKEN, if it has one."""

    def __init__(self, url: str, session: str, token: str = "") -> None:
        self._url, self._session = f"{url}/act", session
        self._headers = {"content-type": "application/json", "x-session-id": session}
        self._headers |= {"authorization": f"Bearer {token}"} if token else {}

    def act(self, observation: Any, reward: float = 0.0, reset: bool = False) -> Any:
        """Return the action; `reset` says that an episode begins."""
        step = {"session": self._session, "observation": observation}
        body = json.dumps({**step, "reward": float(reward), "reset": reset}).encode()
        request = urllib.request.Request(self._url, body, self._headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["action"]


if __name__ == "__main__":
    client = PolicyClient("http://127.0.0.1:8080", "episode 1")
    print(client.act({"sign": 1, "junction": [0.0]}, reset=True))
