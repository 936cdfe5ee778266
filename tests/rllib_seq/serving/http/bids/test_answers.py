"""Every answer is one that an exchange takes: by a schema of what we send, and by the request."""

import json

import pytest
from jsonschema import Draft7Validator
from serving_helpers import Client, always, request_of, running

from rllib_seq.serving.settings import Settings

TEXT, WORDS = {"type": "string", "minLength": 1}, {"type": "array", "items": {"type": "string"}}
WHOLE, NUMBERS = {"type": "integer", "minimum": 0}, {"type": "array", "items": {"type": "integer"}}
ADDRESS = {"type": "string", "pattern": r"^https?://[^\s\"<>]+$"}


def an_object(required, **optional):
    """Of these fields and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **optional},
        "additionalProperties": False,
    }


# OpenRTB 2.6, section 4.2, as far as it is sent.
BID = an_object(
    {
        **{"id": TEXT, "impid": TEXT, "adm": TEXT, "crid": TEXT},
        "price": {"type": "number", "exclusiveMinimum": 0},
        **dict.fromkeys(("nurl", "burl", "lurl"), ADDRESS),
        **{"adomain": WORDS, "cat": WORDS, "cattax": WHOLE, "exp": WHOLE},
        "mtype": {"enum": [1, 2, 3, 4]},
        "ext": an_object({"click": ADDRESS, "conversion": ADDRESS}),
    },
    **dict.fromkeys(("cid", "bundle", "language", "dealid"), TEXT),
    **{"attr": NUMBERS, "apis": NUMBERS, "w": WHOLE, "h": WHOLE, "dur": WHOLE},
)
SEAT = an_object({"bid": {"type": "array", "minItems": 1, "items": BID}}, seat=TEXT)
ANSWER = Draft7Validator(
    an_object(
        {"id": TEXT, "bidid": TEXT, "cur": {"type": "string", "pattern": "^[A-Z]{3}$"}},
        seatbid={"type": "array", "minItems": 1, "items": SEAT},
    )
)
BANNER = {"w": 300, "h": 250}
VIDEO = {"mimes": ["video/mp4"], "protocols": [2, 3]}
TITLE, IMAGE = {"id": 1, "required": 1, "title": {"len": 80}}, {"id": 2, "img": {"type": 3}}
NATIVE = {"request": json.dumps({"native": {"assets": [TITLE, IMAGE]}})}
PRIVATE = {"private_auction": 1, "deals": [{"id": 'D"1', "bidfloor": 0.5}]}


@pytest.fixture(scope="module")
def client(journey, tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    (folder / "deals.json").write_text(json.dumps({"deals": [{"id": 'D"1'}]}))
    settings = Settings(
        export=str(journey.folder), state=":memory:", max_users=512, tmax_ms=60_000.0,
        deals=str(folder / "deals.json"),
    )  # fmt: skip
    with running(settings) as (port, service):
        always(service, len(service.policy.spec.facts["bid_levels"]) - 1)
        client = Client(port)
        yield client
        client.close()


@pytest.mark.parametrize(
    ("imp", "mtype", "size"),
    [
        ({"banner": BANNER}, 1, (300, 250)),
        ({"banner": {"format": [{"w": 1, "h": 1}, {"w": 728, "h": 90}]}}, 1, (728, 90)),
        ({"banner": {"format": [{"wratio": 16, "hratio": 9, "wmin": 1200}]}}, 1, (1920, 1080)),
        ({"banner": {"wmin": 310, "wmax": 330, "hmax": 60}}, 1, (320, 50)),
        ({"banner": BANNER, "secure": 1, "exp": 20}, 1, (300, 250)),
        ({"banner": BANNER, "pmp": PRIVATE}, 1, (300, 250)),
        ({"video": {**VIDEO, "minduration": 5, "maxduration": 30}, "rwdd": 1}, 2, (1280, 720)),
        ({"video": {**VIDEO, "boxingallowed": 0, "w": 320, "h": 240}}, 2, (640, 480)),
        ({"native": NATIVE}, 4, (None, None)),
        ({"banner": BANNER, "video": {**VIDEO, "protocols": [1]}}, 1, (300, 250)),
    ],
)
def test_an_answer_is_valid_and_fits(imp, mtype, size, client):
    imps = [{"id": 'a "b" \\ 例', "ext": {}, **imp}]
    status, answer = client.bid('who "is" it', id="r 😀\n", imp=imps)
    assert status == 200
    assert [error.message for error in ANSWER.iter_errors(answer)] == []
    ((bid,),) = [seat["bid"] for seat in answer["seatbid"]]
    assert (answer["id"], bid["impid"], answer["bidid"]) == ("r 😀\n", imps[0]["id"], bid["id"])
    assert (bid["mtype"], bid.get("w"), bid.get("h")) == (mtype, *size)
    assert bid.get("dealid") == ('D"1' if "pmp" in imp else None)
    assert bid["exp"] == imp.get("exp", 300)
    assert bid["id"] in bid["adm"] and "/click/" in bid["adm"]
    assert "http://" not in bid["adm"] or "secure" not in imp
    if mtype == 4:
        assert {asset["id"] for asset in json.loads(bid["adm"])["native"]["assets"]} == {1, 2}


def test_bids_of_one_answer_have_ids_and_prices_of_their_own(client):
    imps = [{"id": str(number), "banner": BANNER} for number in range(256)]
    status, answer = client("POST", "/openrtb2/bid", request_of("many", imp=imps))
    assert status == 200
    assert not list(ANSWER.iter_errors(answer))
    bids = [bid for seat in answer["seatbid"] for bid in seat["bid"]]
    assert [bid["impid"] for bid in bids] == [imp["id"] for imp in imps]
    assert len({bid["id"] for bid in bids}) == 256
    assert all(bid["id"] in bid["nurl"] and bid["id"] in bid["adm"] for bid in bids)
