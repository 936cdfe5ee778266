"""The catalogue: what is complete, and one line for what is not."""

import json
from xml.etree import ElementTree

import pytest

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.creatives import MEDIA, load_catalogue
from rllib_seq.serving.openrtb.terms import load_terms

BANNER = {
    "crid": "b",
    "type": "banner",
    "adomain": ["www.Example.com"],
    "landing": "https://example.com/",
    "cat": ["IAB18"],
    "sizes": [[300, 250]],
    "adm": "<a href='{{click}}'>{{width}}x{{height}} ${AUCTION_PRICE}</a>",
}
VAST = (
    "<VAST version='3.0'><Ad><InLine><Impression><![CDATA[{{pixel}}]]></Impression>"
    "<ClickThrough><![CDATA[{{click}}]]></ClickThrough></InLine></Ad></VAST>"
)
VIDEO = {
    **{**BANNER, "crid": "v", "type": "video", "adm": VAST},
    **{"duration": 15, "protocols": [3], "mimes": ["video/mp4"]},
}


def written(folder, *creatives):
    path = folder / "creatives.json"
    path.write_text(json.dumps({"creatives": creatives}))
    return str(path)


def test_the_shipped_example_has_every_medium():
    catalogue = load_catalogue(None)
    for medium in MEDIA:
        assert catalogue.of_medium[medium]
    for ad in catalogue.of_medium["video"] + catalogue.of_medium["audio"]:
        shown = ElementTree.fromstring(ad.markup("https://c/", "https://p/", 640, 480).strip())
        assert shown.find(".//Impression").text == "https://p/"
        assert shown.find(".//ClickThrough").text == "https://c/"
        seconds = sum(
            60**place * int(part)
            for place, part in enumerate(reversed(shown.find(".//Duration").text.split(":")))
        )
        assert seconds == ad.duration
        assert {file.get("type") for file in shown.iter("MediaFile")} == set(ad.mimes)


def test_toml_and_json_say_the_same(tmp_path):
    toml = tmp_path / "creatives.toml"
    toml.write_text(
        "[[creatives]]\ncrid = 'b'\ntype = 'banner'\nadomain = ['www.Example.com']\n"
        "landing = 'https://example.com/'\ncat = ['IAB18']\nsizes = [[300, 250]]\n"
        "adm = '''" + BANNER["adm"] + "'''\n"
    )
    one = load_catalogue(str(toml)).of_medium["banner"]
    assert one == load_catalogue(written(tmp_path, BANNER)).of_medium["banner"]
    assert one[0].adomain == ["example.com"]


def test_markup_of_a_banner(tmp_path):
    (ad,) = load_catalogue(written(tmp_path, BANNER)).of_medium["banner"]
    shown = ad.markup("https://c/1", "https://p/1", 300, 250)
    assert "<a href='https://c/1'>300x250 ${AUCTION_PRICE}</a>" in shown
    assert "src='https://p/1'" in shown  # added where the markup has no pixel
    own = {**BANNER, "adm": "{{click}} {{pixel}}"}
    (ad,) = load_catalogue(written(tmp_path, own)).of_medium["banner"]
    assert ad.markup("c", "p", 1, 1) == "c p"


@pytest.mark.parametrize(
    ("creative", "words"),
    [
        ({**BANNER, "crid": ""}, "creatives.0.crid"),
        ({**BANNER, "sise": [[1, 1]]}, "creatives.0.sise"),
        ({**BANNER, "sizes": []}, "banner needs sizes"),
        ({**BANNER, "sizes": [[300, 0]]}, "creatives.0.sizes.0.1"),
        ({**BANNER, "adm": "no link"}, "no {{click}}"),
        ({**BANNER, "adm": "{{click}} <img src='http://x/'>"}, "loads http://"),
        ({**BANNER, "landing": "javascript:alert(1)"}, "give an address that begins with https://"),
        ({**BANNER, "landing": "//evil.com"}, "give an address"),
        ({**BANNER, "landing": "https:\\\\evil.com"}, "give an address"),
        ({**BANNER, "adomain": ["https://example.com/x"]}, "give a domain"),
        ({**BANNER, "adomain": []}, "creatives.0.adomain"),
        ({**BANNER, "type": "poster"}, "creatives.0.type"),
        ({**VIDEO, "duration": None}, "video needs duration"),
        ({**VIDEO, "adm": "{{click}} {{pixel}}"}, "adm is no XML"),
        ({**VIDEO, "adm": VAST.replace("<![CDATA[{{click}}]]>", "{{click}}")}, "adm is no XML"),
        ({**VIDEO, "adm": VAST.replace("{{pixel}}", "")}, "no {{pixel}}"),
        ({**VIDEO, "adm": VAST.replace("VAST", "HTML")}, "adm is <HTML>"),
        ({**BANNER, "type": "native"}, "native needs native"),
    ],
)
def test_what_is_not_complete(creative, words, tmp_path):
    path = written(tmp_path, creative)
    with pytest.raises(UserError) as error:
        load_catalogue(path)
    assert words in str(error.value)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="cannot read creatives"):
        load_catalogue(str(tmp_path / "none.toml"))
    broken = tmp_path / "broken.toml"
    broken.write_text("creatives = [")
    with pytest.raises(UserError, match="cannot read creatives"):
        load_catalogue(str(broken))
    with pytest.raises(UserError, match="two creatives have the crid 'b'"):
        load_catalogue(written(tmp_path, BANNER, BANNER))
    with pytest.raises(UserError, match=r"creatives: List should have at least 1"):
        load_catalogue(written(tmp_path))


def test_rates_and_deals(tmp_path):
    rates, deals = tmp_path / "rates.toml", tmp_path / "deals.json"
    rates.write_text("[rates]\neur = 1.25\n")
    deals.write_text('{"deals": [{"id": "D1"}, {"id": "D2", "creatives": ["b"]}]}')
    terms = load_terms("usd", str(deals), str(rates))
    assert terms.converted(2.0, "EUR") == terms.converted(2.0, "eur") == 2.5
    assert terms.converted(2.0, None) == terms.converted(2.0, "USD") == 2.0
    assert terms.converted(2.0, "GBP") is None
    assert terms.deals["D2"].creatives == ["b"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[rates]\nEUR = -1\n", r"rates.EUR: Input should be greater than 0 \(given: -1\)"),
        ("[rates]\nEUR = nan\n", r"rates.EUR: Input should be a finite number \(given: nan\)"),
        ("[rates]\nEUR = true\n", r"rates.EUR: .*valid number \(given: True\)"),
        ("[rates]\nEUR = 1\nEUR = 2\n", "cannot read rates .*overwrite"),
        ("[rates]\nEUR = 1\neur = 2\n", "EUR stands there twice"),
        ("[rates]\nusd = 2.0\n", "usd is the currency of bids, and 2 units of it per unit"),
        ("", "rates: Field required"),
    ],
)
def test_wrong_rates_are_one_line(content, words, tmp_path):
    check_refused(tmp_path / "rates.toml", content, words)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"deals": [{"name": "D1"}]}', "deals.0"),
        ('{"deals": [{"id": "D"}, {"id": "D"}]}', "two have the id 'D'"),
        ('{"deals": [{"id": "D", "creatives": ["b", "x"]}]}', "'D' is for the creative 'x'"),
        ('{"deals": [{"id": "D", "creatives": []}]}', "deals.0.creatives: List should have at"),
        ('{"deals": [], "deals": []}', "'deals' stands there twice"),
        ("[]", "give a table with the key 'deals'"),
    ],
)
def test_wrong_deals_are_one_line(content, words, tmp_path):
    check_refused(tmp_path / "deals.json", content, words)


def check_refused(file, content, words):
    """As the deals or the rates, whichever its name says."""
    file.write_text(content)
    paths = {name: str(file) if file.stem == name else None for name in ("deals", "rates")}
    with pytest.raises(UserError, match=words) as error:
        load_terms("USD", **paths, crids={"b"})
    assert "\n" not in str(error.value)
