"""What leaves can be served: markup, fields, deals, seats; what comes in is read leniently."""

import gzip
import json
import random
import re

import pytest
from serving_helpers import Client, always, request_of, running

from rllib_seq.serving.openrtb.response import BidResponse
from rllib_seq.serving.settings import Settings

CREATIVES = """
[[creatives]]
crid = "banner"
type = "banner"
cid = "spring"
seat = "seat-1"
adomain = ["example.com"]
landing = "https://example.com/?a=b&c=d"
cat = ["IAB18"]
attr = [3]
language = "en"
sizes = [[300, 250], [728, 90]]
adm = "<a href='{{click}}'>shoes ${AUCTION_PRICE}</a>"

[[creatives]]
crid = "video"
type = "video"
adomain = ["example.org"]
landing = "https://example.org/"
cat = ["IAB7"]
sizes = [[640, 480]]
duration = 20
protocols = [3]
mimes = ["video/mp4"]
secure = false
adm = "<VAST><![CDATA[{{pixel}}]]><![CDATA[{{click}}]]></VAST>"
"""
VIDEO = {"mimes": ["video/mp4"], "minduration": 5, "maxduration": 30, "protocols": [3]}


@pytest.fixture(scope="module")
def server(journey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("terms")
    (folder / "creatives.toml").write_text(CREATIVES)
    (folder / "deals.toml").write_text("[[deals]]\nid = 'D1'\n[[deals]]\nid = 'D2'\n")
    (folder / "rates.json").write_text('{"rates": {"EUR": 2.0}}')
    settings = Settings(
        export=str(journey.folder), state=":memory:", max_users=4096, tmax_ms=5000.0, max_imps=4,
        creatives=str(folder / "creatives.toml"), deals=str(folder / "deals.toml"),
        rates=str(folder / "rates.json"), max_body_bytes=20_000,
    )  # fmt: skip
    with running(settings) as (port, service):
        always(service, len(service.policy.spec.facts["bid_levels"]) - 1)
        yield port, service


@pytest.fixture
def client(server):
    client = Client(server[0])
    yield client
    client.close()


def bids_of(client, **request):
    status, answer = client("POST", "/openrtb2/bid", request_of("alice", **request))
    assert status == 200, answer
    BidResponse.model_validate(answer)
    return answer["seatbid"]


def reasons(server, client, **request):
    """Why there is no bid, by what is counted."""
    before = server[1].counts.copy()
    assert client("POST", "/openrtb2/bid", request_of("alice", **request)) == (204, b"")
    return dict(server[1].counts - before)


def test_a_banner(client):
    ((seat),) = bids_of(client)
    (bid,) = seat["bid"]
    assert seat["seat"] == "seat-1"
    shown = {
        **{"crid": "banner", "cid": "spring", "adomain": ["example.com"], "cat": ["IAB18"]},
        **{"attr": [3], "language": "en", "mtype": 1, "w": 300, "h": 250, "cattax": 1},
    }
    assert {name: bid[name] for name in shown} == shown
    assert re.search(
        r"<a href='http://[^']+/click/[\w-]+'>shoes \$\{AUCTION_PRICE\}</a>", bid["adm"]
    )
    assert re.search(rf"<img src='http://[^']+/pixel/{bid['id']}'", bid["adm"])


def test_a_video_and_a_banner_of_two_seats(client):
    imps = [
        {"id": "1", "banner": {"w": 728, "h": 90}, "secure": 1},
        {"id": "2", "video": VIDEO, "exp": 60},
    ]
    seats = {seat.get("seat"): seat["bid"][0] for seat in bids_of(client, imp=imps)}
    assert {each["impid"] for each in seats.values()} == {"1", "2"}
    video = seats[None]
    assert (video["mtype"], video["dur"], video["w"], video["h"]) == (2, 20, 640, 480)
    assert (video["exp"], seats["seat-1"]["exp"]) == (60, 300)
    assert "<![CDATA[http://" in video["adm"]
    # On a secure page, pixel and click are secure; the exchange calls the others.
    assert "https://" in seats["seat-1"]["adm"] and "http://" not in seats["seat-1"]["adm"]
    assert seats["seat-1"]["nurl"].startswith("http://")


def test_reasons_are_counted(server, client):
    assert reasons(server, client, bcat=["IAB18"]) == {"category": 1}
    wide = [{"id": "1", "banner": {"w": 999, "h": 9}}, {"id": "2", "video": VIDEO, "secure": 1}]
    assert reasons(server, client, imp=wide) == {"size": 1, "secure": 1}
    assert reasons(server, client, cur=["JPY"]) == {"currency": 1}
    yen = [{"id": "1", "banner": {"w": 300, "h": 250}, "bidfloor": 1, "bidfloorcur": "JPY"}]
    assert reasons(server, client, imp=yen) == {"currency": 1}
    high = [{"id": "1", "banner": {"w": 300, "h": 250}, "bidfloor": 200, "bidfloorcur": "EUR"}]
    assert reasons(server, client, imp=high) == {"floor": 1}
    text = client("GET", "/metrics")[1].decode()
    assert 'rllib_seq_no_bid_total{reason="category"} 1.0' in text
    assert 'rllib_seq_no_bid_total{reason="duration"} 0.0' in text
    assert client("GET", "/live")[1]["no_bid"]["currency"] == 2
    assert "Commonest reasons" in client("GET", "/")[1].decode()


def test_deals(client, server):
    def imp(private, **deal):
        deals = [{"id": "X", "bidfloor": 1.0}, {"id": "D1", "bidfloor": 100.0, **deal}]
        pmp = {"private_auction": private, "deals": deals}
        return [{"id": "1", "banner": {"w": 300, "h": 250}, "pmp": pmp}]

    assert bids_of(client, imp=imp(1))[0]["bid"][0]["dealid"] == "D1"
    assert bids_of(client, imp=imp(1, at=3))[0]["bid"][0]["price"] == pytest.approx(100.0)
    assert "dealid" not in bids_of(client, imp=imp(0, bidfloor=900.0))[0]["bid"][0]
    assert reasons(server, client, imp=imp(1, bidfloor=900.0)) == {"floor": 1}
    assert reasons(server, client, imp=imp(1, id="Y")) == {"deal": 1}


def test_a_fixed_price_is_what_is_set_aside(journey, serve):
    """The service holds the price of a deal, not the bid that the policy would make."""
    service = serve(journey, budget=0.25)
    always(service, len(service.policy.spec.facts["bid_levels"]) - 1)  # bids 0.3
    from serving_helpers import ask

    from rllib_seq.serving.openrtb.creatives import Catalogue, load_catalogue
    from rllib_seq.serving.openrtb.eligibility import Eligibility
    from rllib_seq.serving.openrtb.request import BidRequest
    from rllib_seq.serving.openrtb.terms import HeldDeal, Terms

    ads = Catalogue(list(load_catalogue(None).of_medium["banner"]))
    terms = Terms("USD", [HeldDeal(id="D1")], {})
    eligibility = Eligibility(ads, terms, service.channels, service.creatives, True)
    deal = {"id": "D1", "bidfloor": 100.0, "at": 3}
    imp = {"id": "1", "banner": {}, "pmp": {"private_auction": 1, "deals": [deal]}}
    request = BidRequest.model_validate({"id": "r", "imp": [imp]})
    _, offer = eligibility.offer(request, request.imp[0])
    answers = [service.answer([ask(user)._replace(offer=offer)])[0] for user in range(3)]
    assert [answer.why for answer in answers] == ["bid", "bid", "budget"]
    assert [answer.bid.amount for answer in answers[:2]] == [0.1, 0.1]


@pytest.mark.parametrize(
    "request_fields",
    [
        {"at": None, "cur": None, "bcat": None, "test": None, "ext": None, "device": None},
        {"id": 12, "imp": [{"id": 1, "banner": {"w": 300.0, "h": 250.0}, "instl": False}]},
        {"imp": [{"id": "1", "banner": {"w": 300, "h": 250}, "video": None, "ext": None}]},
        {"imp": [{"id": "1", "banner": {"w": 300, "h": 250}, "ext": [], "secure": False}]},
        {
            "imp": [
                {"id": "1", "banner": {"w": 300, "h": 250, "pos": "x"}, "metric": 7, "rwdd": 0.0}
            ]
        },
        {"site": {"publisher": {"id": 12}, "cat": [1, 2], "page": 5}, "source": "x", "at": "one"},
        {"user": {"id": 12345, "yob": "1980", "data": [{"segment": [{"id": 1, "value": "x"}]}]}},
        {"user": [], "regs": [], "cur": ["usd"], "tmax": 0, "test": False},
        {
            "user": {"data": [None, {"segment": [None]}], "eids": [None]},
            "regs": {"ext": {"gpc": True}},
        },
        {"imp": [{"id": "1", "banner": {"format": [None, {"w": 300, "h": 250}]}, "pmp": []}]},
        {"imp": [{"id": "1", "banner": {"w": 300, "h": 250}, "pmp": {"deals": [None]}, "qty": []}]},
        {"wseat": [], "bseat": [None, "x"], "user": {"id": "a\0b", "eids": None}},
        {"site": {"domain": "例え.jp"}, "user": {"id": "пользователь-😀"}},
    ],
)
def test_nothing_is_refused_for_what_does_not_matter(request_fields, client):
    assert bids_of(client, **request_fields)


@pytest.mark.parametrize(
    ("request_fields", "field"),
    [
        ({"cur": "USD"}, "cur"),
        ({"tmax": "100"}, "tmax"),
        ({"device": {"devicetype": "2"}}, "device.devicetype"),
        ({"imp": [{"id": "1", "banner": {}, "bidfloor": "1"}]}, "imp.0.bidfloor"),
        ({"imp": [{"id": "1", "banner": {}, "bidfloor": -1}]}, "imp.0.bidfloor"),
        ({"imp": [{"id": "1", "banner": {}, "ext": {"channel": 7}}]}, "imp.0.ext.channel"),
        ({"imp": [{"id": "1", "banner": {"w": -1, "h": 1}}]}, "imp.0.banner.w"),
        ({"imp": [{"id": "1", "banner": {"h": 50}}]}, "imp.0.banner"),
        ({"imp": [{"id": "1", "banner": {"format": [{"w": 1, "h": 0}]}}]}, "banner.format.0"),
        ({"imp": [{"id": "1", "banner": {"format": [{"w": 1, "wratio": 2}]}}]}, "banner.format.0"),
        ({"imp": [{"id": "1", "video": {"w": 1, "h": 1}}]}, "imp.0.video.mimes"),
        ({"imp": [{"id": "1", "video": {"mimes": "video/mp4"}}]}, "imp.0.video.mimes"),
        ({"imp": [{"id": "1", "audio": {"mimes": []}}]}, "imp.0.audio.mimes"),
        ({"imp": [{"id": "1", "native": {"ver": "1.2"}}]}, "imp.0.native.request"),
        ({"imp": [{"id": "1"}]}, "imp.0"),
        ({"imp": [{"banner": {}}]}, "imp.0.id"),
        ({"imp": [{"id": "1", "banner": {}, "pmp": {"deals": [{"id": ""}]}}]}, "pmp.deals.0.id"),
        ({"imp": [{"id": "1", "banner": {}}, {"id": 1, "banner": {}}]}, "imp.id"),
        ({"imp": [{"id": str(number), "banner": {}} for number in range(5)]}, "imp"),
        ({"user": {"id": "u", "consent": 7}}, "user.consent"),
        ({"regs": {"ext": "x"}}, "regs.ext"),
    ],
)
def test_what_matters_is_named(request_fields, field, client):
    status, answer = client("POST", "/openrtb2/bid", request_of("alice", **request_fields))
    assert status == 400
    assert field in answer["detail"]


def reply_to(client, body, **headers):
    client._connection.request("POST", "/openrtb2/bid", body, headers)
    reply = client._connection.getresponse()
    return reply.headers, reply.read()


def test_gzip_both_ways(client):
    body = json.dumps(request_of("alice", padding="x" * 5000)).encode()
    packed = gzip.compress(body)
    gzipped = {"content-encoding": "GZIP", "x-openrtb-version": "2.6"}
    assert client("POST", "/openrtb2/bid", packed, **gzipped)[0] == 200
    headers, content = reply_to(client, packed, **gzipped, **{"accept-encoding": "br, gzip;q=0.5"})
    assert headers["content-encoding"] == "gzip"
    assert headers["x-openrtb-version"] == "2.6"
    assert json.loads(gzip.decompress(content))["seatbid"]
    for accepted in ("gzip;q=0", "br", "identity"):
        headers, content = reply_to(client, body, **{"accept-encoding": accepted})
        assert headers["content-encoding"] is None
        assert json.loads(content)["seatbid"]


def test_gzip_that_is_none_or_too_much(client):
    gzipped = {"content-encoding": "gzip"}
    bomb = gzip.compress(b" " * 10_000_000)
    assert len(bomb) < 20_000
    assert client("POST", "/openrtb2/bid", bomb, **gzipped)[0] == 413
    assert client("POST", "/openrtb2/bid", b"{}", **gzipped)[0] == 400
    whole = gzip.compress(json.dumps(request_of("alice")).encode())
    assert client("POST", "/openrtb2/bid", whole[:-9], **gzipped)[0] == 400
    noise = bytearray(whole)
    for _ in range(50):
        noise[random.Random(0).randrange(20, len(noise))] ^= 255
        assert client("POST", "/openrtb2/bid", bytes(noise), **gzipped)[0] in (200, 400)


def test_head_is_get_without_a_body(client):
    for path in ("/healthz", "/metrics", "/", "/live"):
        assert client("HEAD", path) == (200, b"")
    assert client("HEAD", "/openrtb2/bid")[0] == 405


def test_the_example_fits_the_wheel():
    from importlib.resources import files

    assert (files("rllib_seq.serving.openrtb") / "example_creatives.toml").is_file()
