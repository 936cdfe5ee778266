"""Every criterion alone: what passes it, what does not, and the reason."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.serving.openrtb.creatives import Catalogue, Creative
from rllib_seq.serving.openrtb.eligibility import REASONS, Eligibility
from rllib_seq.serving.openrtb.request import BidRequest
from rllib_seq.serving.openrtb.terms import HeldDeal, Terms

VAST = "<VAST><Linear><![CDATA[{{pixel}} {{click}}]]></Linear></VAST>"


def ad(kind="banner", **fields):
    common = {
        **{"crid": kind, "type": kind, "adomain": ["shop.example.com"], "cat": ["IAB18-5"]},
        **{"landing": "https://shop.example.com/", "language": "en", "seat": "ours"},
    }
    special = {
        "banner": {"adm": "{{click}}", "sizes": [(300, 250), (728, 90)], "bundle": "com.shop"},
        "video": {
            **{"adm": VAST, "sizes": [(1280, 720), (640, 480)], "duration": 15},
            **{"protocols": [2, 3], "mimes": ["video/mp4"], "bitrate": 1000},
        },
        "audio": {"adm": VAST, "duration": 15, "protocols": [9], "mimes": ["audio/mpeg"]},
        "native": {"native": {"title": "Shoes", "text": "Good", "icon": None}},
    }[kind]
    return Creative.model_validate({**common, **special, **fields})


CATALOGUE = [ad("banner"), ad("video"), ad("audio"), ad("native")]
MEDIA = {
    "banner": {"w": 300, "h": 250},
    "video": {"mimes": ["video/mp4"]},
    "audio": {"mimes": ["audio/mpeg"]},
    "native": {"request": '{"assets": [{"id": 1, "required": 1, "title": {"len": 25}}]}'},
}


def eligibility(creatives=CATALOGUE, deals=(), rates=None, names=("only",), https=True):
    terms = Terms("USD", [HeldDeal.model_validate(deal) for deal in deals], rates or {})
    channels = ("display", "video", "audio")
    return Eligibility(Catalogue(list(creatives)), terms, channels, names, https)


def offered(imp, filtered=None, **request):
    filtered = filtered or eligibility()
    parsed = BidRequest.model_validate({"id": "r", "imp": [{"id": "1", **imp}], **request})
    return filtered.refused(parsed) or filtered.offer(parsed, parsed.imp[0])


def of(kind="banner", filtered=None, imp=None, request=None, **medium):
    """What is offered for a medium with some fields changed: the reason, or what would be shown."""
    body = {**MEDIA[kind], **medium}
    body = {name: value for name, value in body.items() if value != "absent"}
    found = offered({kind: body, **(imp or {})}, filtered, **(request or {}))
    if isinstance(found, str):
        assert found in REASONS
        return found
    placement = found[1].buy(0, 1e6).placement
    return (placement.ad.crid, placement.w, placement.h)


SHOWN = ("banner", 300, 250)
FILM = ("video", 1280, 720)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, SHOWN),
        ({"w": 300, "h": 600}, "size"),
        ({"w": 728.0, "h": 90.0}, ("banner", 728, 90)),
        ({"w": 300, "h": 600, "format": [{"w": 728, "h": 90}, {"w": 300, "h": 250}]},
         ("banner", 728, 90)),
        ({"w": 0, "h": 0}, SHOWN),
        ({"w": "absent", "h": "absent"}, SHOWN),
        ({"w": None, "h": None, "format": [{"wratio": 6, "hratio": 5, "wmin": 200}]}, SHOWN),
        ({"w": None, "h": None, "format": [{"wratio": 6, "hratio": 5, "wmin": 400}]}, "size"),
        ({"w": None, "h": None, "format": [{"wratio": 1, "hratio": 2, "wmin": 10}]}, "size"),
        ({"w": None, "h": None, "wmin": 400}, ("banner", 728, 90)),
        ({"w": None, "h": None, "wmin": 100, "wmax": 320, "hmin": 200, "hmax": 300}, SHOWN),
        ({"w": None, "h": None, "hmax": 50}, "size"),
        ({"battr": [1, 2]}, SHOWN),
        ({"btype": [1, 4]}, SHOWN),
        ({"btype": [2]}, "banner_type"),
        ({"mimes": ["image/png", "TEXT/HTML"]}, SHOWN),
        ({"mimes": ["image/png"]}, "mime"),
    ],
)  # fmt: skip
def test_banners(fields, wanted):
    assert of(**fields) == wanted


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, FILM),
        ({"minduration": 15, "maxduration": 15}, FILM),
        ({"maxduration": 14}, "duration"),
        ({"minduration": 16, "maxduration": 30}, "duration"),
        ({"poddur": 10}, "duration"),
        ({"poddur": 60}, FILM),
        ({"rqddurs": [15, 30]}, FILM),
        ({"rqddurs": [6, 30]}, "duration"),
        ({"protocols": [3, 7]}, FILM),
        ({"protocols": [7]}, "protocol"),
        ({"protocol": 7}, "protocol"),
        ({"protocols": []}, FILM),
        ({"linearity": 1}, FILM),
        ({"linearity": 2}, "linearity"),
        ({"mimes": ["video/webm", "VIDEO/MP4"]}, FILM),
        ({"mimes": ["video/webm"]}, "mime"),
        ({"minbitrate": 2000}, "bitrate"),
        ({"maxbitrate": 900}, "bitrate"),
        ({"w": 300, "h": 250}, FILM),
        ({"w": 300, "h": 225, "boxingallowed": 0}, ("video", 640, 480)),
        ({"w": 100, "h": 300, "boxingallowed": False}, "size"),
    ],
)
def test_video(fields, wanted):
    assert of("video", **fields) == wanted


def test_audio_and_its_attributes():
    assert of("audio") == ("audio", None, None)
    assert of("audio", protocols=[1]) == "protocol"
    assert of("audio", mimes=["audio/ogg"]) == "mime"
    loud = eligibility([ad("audio", attr=[1])])
    assert of("audio", loud, battr=[1, 9]) == "attribute"
    assert of("audio", loud, battr=[9]) == ("audio", None, None)


@pytest.mark.parametrize("kind", ["banner", "video"])
def test_attributes_and_frameworks(kind):
    special = eligibility([ad(kind, attr=[3, 8], api=[5, 6])])
    shown = SHOWN if kind == "banner" else FILM
    assert of(kind, special, api=[6]) == shown
    assert of(kind, special, api=[6], battr=[8]) == "attribute"
    assert of(kind, special) == "api"
    assert of(kind, special, api=[1]) == "api"


@pytest.mark.parametrize(
    ("request_fields", "wanted"),
    [
        ({"bcat": ["IAB18-5"]}, "category"),
        ({"bcat": ["iab18"]}, "category"),
        ({"bcat": ["IAB1", "IAB18-50"]}, SHOWN),
        ({"bcat": []}, SHOWN),
        ({"bcat": None}, SHOWN),
        ({"bcat": ["IAB1"], "cattax": 1}, SHOWN),
        ({"bcat": ["521"], "cattax": 6}, "category"),
        ({"bcat": [521], "cattax": 6.0}, "category"),
        ({"cattax": 6}, SHOWN),
        ({"acat": ["IAB18"]}, SHOWN),
        ({"acat": ["IAB1"]}, "category"),
        ({"badv": ["example.com"]}, "advertiser"),
        ({"badv": ["WWW.Shop.Example.com"]}, "advertiser"),
        ({"badv": ["other.example.com", "ample.com"]}, SHOWN),
        ({"bapp": ["com.shop"]}, "app"),
        ({"bapp": ["com.other", 1234]}, SHOWN),
        ({"wseat": ["ours", "x"]}, SHOWN),
        ({"wseat": ["theirs"]}, "seat"),
        ({"bseat": ["ours"]}, "seat"),
        ({"bseat": ["anybody"]}, SHOWN),
        ({"wlang": ["de", "EN"]}, SHOWN),
        ({"wlangb": ["en-GB"]}, SHOWN),
        ({"wlang": ["de"]}, "language"),
        ({"cur": ["eur", "usd"]}, SHOWN),
        ({"cur": ["EUR"]}, "currency"),
        ({"site": {"id": "s"}, "app": {"id": "a"}}, "invalid"),
        ({"site": {"cat": [1, 2]}, "user": {"yob": "x"}, "source": 7}, SHOWN),
    ],
)
def test_requests(request_fields, wanted):
    assert of(request=request_fields) == wanted


def test_categories_of_another_taxonomy():
    other = eligibility([ad(cat=["521"], cattax=6)])
    assert of(filtered=other, request={"bcat": [521], "cattax": 6}) == "category"
    assert of(filtered=other, request={"bcat": ["52"], "cattax": 6}) == SHOWN
    assert of(filtered=other, request={"bcat": ["IAB1"]}) == "category"


@pytest.mark.parametrize(
    ("imp", "creative", "wanted"),
    [
        ({"secure": 1}, {"secure": False}, "secure"),
        ({"secure": True}, {}, SHOWN),
        ({"secure": 0}, {"secure": False}, SHOWN),
        ({"instl": 1}, {"interstitial": False}, "interstitial"),
        ({"instl": 1.0}, {}, SHOWN),
        ({"rwdd": 1}, {"rewarded": False}, "rewarded"),
        ({"rwdd": 1}, {}, SHOWN),
        ({"qty": {"multiplier": 14.2}}, {}, "quantity"),
        ({"qty": {"multiplier": 1}}, {}, SHOWN),
    ],
)
def test_impressions(imp, creative, wanted):
    assert of(filtered=eligibility([ad(**creative)]), imp=imp) == wanted


def test_an_interstitial_fits_on_the_screen():
    small = {"device": {"w": 320, "h": 480}}
    sizeless = {"w": None, "h": None}
    assert of(imp={"instl": 1}, request=small, **sizeless) == SHOWN
    assert of(imp={"instl": 1}, request={"device": {"w": 240, "h": 320}}, **sizeless) == "size"
    assert of(request={"device": {"w": 240, "h": 320}}, **sizeless) == SHOWN


def test_pixels_and_clicks_must_be_secure_too():
    assert of(filtered=eligibility(https=False), imp={"secure": 1}) == "secure"
    assert of(filtered=eligibility(https=False)) == SHOWN


@pytest.mark.parametrize(
    ("asset", "wanted"),
    [
        ({"required": 1, "title": {"len": 5}}, (None, None)),
        ({"required": 1, "title": {"len": 4}}, "native"),
        ({"required": 1, "data": {"type": 2, "len": 10}}, (None, None)),
        ({"required": 1, "data": {"type": 12}}, "native"),
        ({"required": 1, "img": {"type": 3, "wmin": 100}}, "native"),
        ({"required": 1, "video": {}}, "native"),
        ({"required": 0, "video": {}}, "native"),  # nothing is left to show
    ],
)
def test_native_assets(asset, wanted):
    asked = {"assets": [{"id": 1, **asset}]}
    for text in (json.dumps(asked), json.dumps({"native": asked})):
        found = offered({"native": {"request": text}})
        assert (found if found == "native" else found[1].buy(0, 1.0).placement[1:]) == wanted


def test_native_requests_that_cannot_be_read():
    for text in ("{", "[]", '{"assets": []}', '"assets":[{"id":0}]'):
        found = offered({"native": {"request": text}})
        assert found == "native"
        both = offered({"native": {"request": text}, "banner": MEDIA["banner"]})
        assert both[1].buy(0, 1.0).placement.ad.crid == "banner"


def test_media_and_channels():
    assert of(filtered=eligibility([ad("video")])) == "medium"
    two = {"banner": MEDIA["banner"], "video": MEDIA["video"]}
    assert offered(two)[0] == 1  # the channel "video"
    assert offered(two, eligibility([ad("banner")]))[0] == 0
    assert offered({**two, "ext": {"channel": "display"}})[0] == 0
    assert offered({**two, "ext": {"channel": "radio"}}) == "channel"
    assert offered({**two, "ext": {"gpid": "/1/a"}})[0] == 1
    single = Eligibility(Catalogue(CATALOGUE), Terms("USD", [], {}), ("auction",), ("only",), True)
    assert offered({"audio": MEDIA["audio"]}, single)[0] == 0


def bought(imp, amount=0.01, **terms):
    found = offered({"banner": MEDIA["banner"], **imp}, eligibility(**terms))
    return found if isinstance(found, str) else found[1].buy(0, amount)


def test_floors_and_currencies():
    assert bought({"bidfloor": 10.0}).amount == 0.01
    assert bought({"bidfloor": 10.01}) is None
    assert bought({"bidfloor": 1, "bidfloorcur": "EUR"}) == "currency"
    assert bought({"bidfloor": 0, "bidfloorcur": "EUR"}) == "currency"
    assert bought({"bidfloor": 8, "bidfloorcur": "eur"}, rates={"EUR": 1.25}).amount == 0.01
    assert bought({"bidfloor": 8.1, "bidfloorcur": "EUR"}, rates={"EUR": 1.25}) is None
    assert bought({"bidfloor": None, "bidfloorcur": None}).amount == 0.01


def test_no_floor_is_none_in_any_currency():
    terms = Terms("EUR", [], {})
    assert terms.converted(0.0, None) == 0.0
    assert terms.converted(0.0, "USD") is None  # someone will say more of that currency
    assert terms.converted(1.0, None) is None


@pytest.mark.parametrize(
    ("fields", "amounts"),
    [
        ({}, {0.0021: "long"}),
        ({"durfloors": [{"maxdur": 14, "bidfloor": 9}]}, {0.0021: "long"}),
        ({"durfloors": [{"mindur": 16, "maxdur": 30, "bidfloor": 9}]},
         {0.0021: "short", 0.0089: "short", 0.0091: "long"}),
        ({"durfloors": [{"mindur": 15, "bidfloor": 9}, None]}, {0.0089: None, 0.0091: "long"}),
        ({"durfloors": [{"mindur": 30, "bidfloor": 1}]}, {0.0011: "long"}),
        ({"mincpmpersec": 0.5}, {0.0074: None, 0.0076: "short", 0.0151: "long"}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("private", [0, 1])
def test_floors_by_duration(fields, amounts, private):
    films = [ad("video", crid="long", duration=30), ad("video", crid="short")]
    spot, deal = {**MEDIA["video"], **fields}, {"id": "D1", "bidfloor": 2.0, **fields}
    if private:
        imp = {"video": MEDIA["video"], **pmp(deal, private=1)}
    else:
        imp = {"video": spot, "bidfloor": 2.0}
    _, offer = offered(imp, eligibility(films, deals=[{"id": "D1"}]))
    for amount, crid in amounts.items():
        found = offer.buy(0, amount)
        if private and found is not None:  # the dearest terms that are reached, as with deals
            assert found.deal == "D1"
        assert (found and found.placement.ad.crid) == crid


def pmp(*deals, private=0):
    return {"pmp": {"private_auction": private, "deals": list(deals)}, "bidfloor": 2.0}


def test_deals():
    ours = [{"id": "D1"}, {"id": "D2"}]
    deal, dear = {"id": "D1", "bidfloor": 5.0}, {"id": "D2", "bidfloor": 900.0}
    assert bought(pmp(deal), deals=ours).deal == "D1"
    assert bought(pmp(deal), deals=ours, amount=0.004).deal is None  # the open auction
    assert bought(pmp(deal)).deal is None  # we do not hold it
    assert bought(pmp(deal, private=1)) == "deal"
    assert bought(pmp(private=1), deals=ours) == "deal"
    assert bought(pmp(dear, private=1), deals=ours) is None
    assert bought(pmp(dear, private=True), deals=ours, amount=0.9).deal == "D2"
    assert bought(pmp(deal, dear), deals=ours, amount=1.0).deal == "D2"
    assert bought(pmp(deal, dear), deals=ours).deal == "D1"
    euro = {"id": "D1", "bidfloor": 5.0, "bidfloorcur": "EUR"}
    assert bought(pmp(euro, private=1), deals=ours) == "deal"
    assert bought(pmp(euro), deals=ours, rates={"EUR": 2.0}, amount=0.0099).deal is None
    assert bought(pmp(euro), deals=ours, rates={"EUR": 2.0}).deal == "D1"
    fixed = bought(pmp({**deal, "at": 3}), deals=ours)
    assert (fixed.deal, fixed.amount) == ("D1", 0.005)
    unpriced = bought(pmp({"id": "D1", "at": 3}), deals=ours)
    assert (unpriced.deal, unpriced.amount) == ("D1", 0.01)


def test_deals_of_some_buyers_and_creatives():
    deal = {"id": "D1", "bidfloor": 1.0}
    ours = [{"id": "D1", "creatives": ["banner"]}]
    assert bought(pmp({**deal, "wseat": ["ours"]}), deals=ours).deal == "D1"
    assert bought(pmp({**deal, "wseat": ["theirs"]}), deals=ours).deal is None
    assert bought(pmp({**deal, "wadomain": ["example.com"]}), deals=ours).deal == "D1"
    assert bought(pmp({**deal, "wadomain": ["else.com"]}), deals=ours).deal is None
    others = [{"id": "D1", "creatives": ["another"]}]
    assert bought(pmp(deal), deals=others).deal is None


def test_the_policy_chooses_among_what_can_be_shown():
    names = ("brand", "offer", "service")
    some = [
        ad(crid="1", creative="offer"),
        ad(crid="2", creative="service", cat=["IAB7"]),
        ad(crid="3", creative="brand", sizes=[(1, 1)]),
    ]
    _, offer = offered({"banner": MEDIA["banner"]}, eligibility(some, names=names))
    assert offer.creatives == 0b110
    assert offer.buy(1, 1.0).placement.ad.crid == "1"
    assert offer.buy(2, 1.0).placement.ad.crid == "2"
    assert offer.buy(0, 1.0) is None
    filtered = eligibility(some, names=names)
    _, offer = offered({"banner": MEDIA["banner"]}, filtered, bcat=["IAB7"])
    assert offer.creatives == 0b010
    _, offer = offered({"banner": MEDIA["banner"]}, eligibility([*some, ad()], names=names))
    assert offer.creatives == -1
    assert offer.buy(0, 1.0).placement.ad.crid == "banner"


@given(
    st.lists(st.tuples(st.integers(1, 800), st.integers(1, 800)), min_size=1, max_size=5),
    st.lists(st.sampled_from(["IAB18", "IAB18-5", "IAB1", "IAB7-3"]), max_size=3),
)
def test_what_is_remembered_is_what_is_decided(formats, bcat):
    """A request asked twice, or with a list too long to be remembered, gets the same answer."""
    filtered = eligibility()
    banner = {"format": [{"w": w, "h": h} for w, h in formats]}

    def asked(more):
        found = offered({"banner": banner}, filtered, bcat=bcat, badv=more)
        return found if isinstance(found, str) else found[1].buy(0, 1.0)

    first = asked([])
    assert first == asked([]) == asked([f"{number}.org" for number in range(100)])
    assert (first == "category") == bool({"IAB18", "IAB18-5"} & set(bcat))
    if not isinstance(first, str):
        assert (first.placement.w, first.placement.h) in formats
