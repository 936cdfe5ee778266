"""Who may be remembered, by each signal of law and choice alone."""

import pytest

from rllib_seq.serving.openrtb.consent import (
    gpp_opted_out,
    may_remember,
    tcf_consents,
    us_privacy_opted_out,
)
from rllib_seq.serving.openrtb.request import BidRequest

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def letters(bits):
    """Base64 letters of bits, padded with zeros."""
    bits += "0" * (-len(bits) % 6)
    return "".join(LETTERS[int(bits[at : at + 6], 2)] for at in range(0, len(bits), 6))


def tcf(*purposes, version=2):
    """A consent string of the core segment."""
    consents = "".join("1" if purpose in purposes else "0" for purpose in range(1, 25))
    return letters(f"{version:06b}" + "0" * 146 + consents + "0" * 100)


def gpp(**sections):
    """A string with the sections `s7=...`; its header names them as single steps."""
    ids = sorted(int(name[1:]) for name in sections)
    header, last = f"{3:06b}{1:06b}{len(ids):012b}", 0
    for each in ids:
        header += "0" + fibonacci(each - last)
        last = each
    return "~".join([letters(header), *(sections[f"s{each}"] for each in ids)])


def fibonacci(number):
    """Zeckendorf's sum, the smallest first, and a last 1."""
    weights = [1, 2]
    while weights[-1] < number:
        weights.append(weights[-1] + weights[-2])
    bits, left = [], number
    for weight in reversed(weights):
        bits.append("1" if weight <= left else "0")
        left -= weight if weight <= left else 0
    return "".join(reversed(bits)).rstrip("0") + "1"


def us_national(sold=2, shared=2, targeted=2):
    return letters(f"{1:06b}" + "01" * 6 + f"{sold:02b}{shared:02b}{targeted:02b}" + "0" * 30)


FULL = tcf(1, 3, 4)
OUT, IN = us_national(targeted=1), us_national()


def request_of(**parts):
    return BidRequest.model_validate(
        {"id": "r", "imp": [{"id": "1", "banner": {}}], "user": {"id": "u"}, **parts}
    )


@pytest.mark.parametrize(
    "parts",
    [
        {"regs": {"coppa": 1}},
        {"regs": {"coppa": True}},
        {"regs": {"gdpr": 1}},
        {"regs": {"gdpr": 1.0}, "user": {"id": "u", "consent": ""}},
        {"regs": {"gdpr": 1}, "user": {"id": "u", "consent": "no string of the TCF"}},
        {"regs": {"gdpr": 1}, "user": {"id": "u", "consent": tcf(1, 2)}},
        {"regs": {"ext": {"gdpr": 1}}},
        {"regs": {"us_privacy": "1YYN"}},
        {"regs": {"ext": {"us_privacy": "1NYN"}}},
        {"regs": {"us_privacy": "what?"}},
        {"regs": {"ext": {"gpc": "1"}}},
        {"regs": {"ext": {"gpc": 1}}},
        {"regs": {"gpp": gpp(s7=OUT), "gpp_sid": [7]}},
        {"regs": {"ext": {"gpp": gpp(s7=OUT), "gpp_sid": [7]}}},
        {"regs": {"gpp": gpp(s7=OUT)}},
        {"regs": {"gpp": "broken", "gpp_sid": [7]}},
        {"regs": {"gpp_sid": [7]}},
        {"device": {"lmt": 1}},
        {"device": {"dnt": 1}},
        {"device": {"dnt": True}},
        {"dooh": {"id": "screen"}},
    ],
)
def test_who_is_not_remembered(parts):
    assert not may_remember(request_of(**parts))


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"regs": {}},
        {"regs": None},
        {"regs": {"coppa": 0, "gdpr": 0, "us_privacy": "1NNN"}},
        {"regs": {"us_privacy": "1---"}},
        {"regs": {"us_privacy": ""}},
        {"regs": {"gdpr": 1}, "user": {"id": "u", "consent": FULL}},
        {"regs": {"ext": {"gdpr": 1}}, "user": {"id": "u", "ext": {"consent": FULL}}},
        {"regs": {"gpp": gpp(s7=IN), "gpp_sid": [7]}},
        {"regs": {"gpp": gpp(s5="anything"), "gpp_sid": [5]}},
        {"regs": {"gpp_sid": [-1]}},
        {"device": {"lmt": 0, "dnt": None}},
    ],
)
def test_who_is_remembered(parts):
    assert may_remember(request_of(**parts))


def test_purposes_of_the_tcf():
    assert tcf_consents(FULL)
    assert tcf_consents(FULL + ".more.segments")
    for missing in (1, 3, 4):
        assert not tcf_consents(tcf(*({1, 2, 3, 4, 5} - {missing})))
    assert not tcf_consents(tcf(1, 3, 4, version=1))
    assert not tcf_consents(FULL[:20])


def test_sections_of_a_gpp_string():
    both = gpp(s2=FULL, s6="1YNN", s8=letters(f"{1:06b}" + "01" * 3 + "1010" + "0" * 20))
    assert not gpp_opted_out(both, (2,))
    assert not gpp_opted_out(both, (6, 8))
    assert gpp_opted_out(gpp(s2=tcf(1), s6="1YNN"), (2, 6))
    assert gpp_opted_out(gpp(s6="1YYN"), (6,))
    assert gpp_opted_out(both, (7,))  # applies, and is not there
    assert gpp_opted_out(gpp(s7=IN + ".YA"), (7,))  # the browser's signal
    assert gpp_opted_out("", (17,))  # a state whose encoding is not known here


def test_us_privacy():
    assert [us_privacy_opted_out(text) for text in ("1NNN", "1nyn", "1-Y-", "2NNN", "1NN")] == [
        *(False, True, True, True, True)
    ]
