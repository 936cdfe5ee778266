"""Pixels and clicks of ads that are shown, with a token that browsers do not have."""

import http.client
import re
import urllib.parse

import pytest
from serving_helpers import Client, always, running

from rllib_seq.serving.settings import Settings

TOKEN = "a token of sufficient length"


@pytest.fixture(scope="module")
def server(journey):
    settings = Settings(
        export=str(journey.folder), state=":memory:", max_users=512, token=TOKEN, tmax_ms=5000.0
    )
    with running(settings) as (port, service):
        always(service, len(service.policy.spec.facts["bid_levels"]) - 1)
        yield port, service


def get(port, path, method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request(method, path)
    reply = connection.getresponse()
    return reply.status, dict(reply.getheaders()), reply.read()


def shown(port):
    """The paths of a bid's click and pixel."""
    _, answer = Client(port, TOKEN).bid("alice")
    adm = answer["seatbid"][0]["bid"][0]["adm"]
    urls = (
        re.search(rf"https?://[^'\"]+/{kind}/[\w-]+", adm).group() for kind in ("click", "pixel")
    )
    return [urllib.parse.urlsplit(url).path for url in urls]


def test_a_pixel(server):
    port, service = server
    _, pixel = shown(port)
    before = service.counts["view:counted"]
    for _ in range(2):
        status, headers, body = get(port, pixel)
        assert (status, headers["content-type"]) == (200, "image/gif")
        assert headers["cache-control"] == "no-store"
        assert body[:6] == b"GIF89a" and body[6:10] == b"\1\0\1\0"
    assert service.counts["view:counted"] == before + 1
    assert service.counts["view:known"] >= 1
    assert get(port, "/pixel/forged")[0] == 200  # no broken image, but nothing is counted
    assert service.counts["view:counted"] == before + 1


def test_a_click(server):
    port, service = server
    click, _ = shown(port)
    before = service.money.totals["clicks"]
    for _ in range(2):
        status, headers, _ = get(port, click)
        assert (status, headers["location"]) == (302, "https://example.com/shoes")
    assert service.money.totals["clicks"] == before + 1


def test_no_click_leads_elsewhere(server):
    port, service = server
    click, pixel = shown(port)
    for path in (
        click[:-1] + ("A" if click[-1] != "A" else "Q"),
        "/click/forged",
        "/click/" + pixel.rpartition("/")[2],
        "/click/https%3A%2F%2Fevil.example",
        click.rpartition("/")[0] + "/",
    ):
        status, headers, _ = get(port, path)
        assert status == 404
        assert "location" not in headers
    # Whatever stands behind the token does not change where it leads to.
    assert (
        get(port, click + "?to=https://evil.example")[1]["location"] == "https://example.com/shoes"
    )
    script = service.sealer.seal_click("bid", "javascript:alert(1)")
    assert get(port, f"/click/{script}")[0] == 404


def test_bearer_in_any_case(server):
    port, _ = server
    for scheme, status in (("bearer", 200), ("BEARER", 200), ("Bearer ", 200), ("Basic", 401)):
        client = Client(port)
        assert client("GET", "/live", authorization=f"{scheme} {TOKEN}")[0] == status
