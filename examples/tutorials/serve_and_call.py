"""Serve a policy and call it: bid requests of one user, a win, and what the server remembers.

    python examples/tutorials/serve_and_call.py

It serves the policy that comes with the package; `rllib-seq serve POLICY` serves your own. Needs
`pip install "rllib-seq[serve]"`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

PORT = 8099


def call(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """GET, or POST a JSON body; return the JSON answer, empty for 204."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


@contextmanager
def server(port: int) -> Iterator[str]:
    """Run `rllib-seq serve` for a while; yield its address."""
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "campaign.sqlite"
        command = [sys.executable, "-m", "rllib_seq", "serve", "--port", str(port)]
        process = subprocess.Popen([*command, "--state", str(state), "--budget", "100"])
        try:
            while process.poll() is None:
                try:
                    call(f"{address}/healthz")
                    break
                except OSError:
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()
            process.wait()


def journey(address: str, user: str, channels: list[str]) -> list[float]:
    """Send requests of one user and report every bid as won; return the bids."""
    table = Table("request", "channel", "bid (CPM)", "paid (CPM)", title=f"user {user}")
    bids = []
    for number, channel in enumerate(channels, 1):
        impression = {"id": "1", "bidfloor": 0.1, "banner": {"w": 300, "h": 250}}
        impression["ext"] = {"channel": channel}
        request = {"id": str(number), "user": {"buyeruid": user}, "imp": [impression]}
        answer = call(f"{address}/openrtb2/bid", request)
        if "seatbid" not in answer:
            table.add_row(str(number), channel, "no bid", "")
            continue
        bid = answer["seatbid"][0]["bid"][0]
        paid = bid["price"] / 2  # a second-price auction: the highest other bid
        call(bid["nurl"].replace("${AUCTION_PRICE}", str(paid)))
        bids.append(bid["price"])
        table.add_row(str(number), channel, f"{bid['price']:.2f}", f"{paid:.2f}")
    Console().print(table)
    return bids


def main(port: int = PORT) -> list[float]:
    """Serve, call, and show the totals of the campaign."""
    with server(port) as address:
        bids = journey(address, "alice", ["display", "video", "search", "display", "search"])
        totals = call(f"{address}/live")["totals"]
    print(f"{totals['bids']:.0f} bids, {totals['wins']:.0f} wins, spend {totals['spend']:.4f}")
    return bids


if __name__ == "__main__":
    main()
