"""What laws and users' choices say about remembering a user.

- `may_remember`: the decision for a request.
- `tcf_consents`, `us_privacy_opted_out`, `gpp_opted_out`: of the strings that carry consent.

A string that cannot be read counts as "no". Sources: IAB Europe, Transparency and Consent String
v2; IAB Tech Lab, U.S. Privacy String and Global Privacy Platform (section encodings).
"""

from __future__ import annotations

from functools import lru_cache

from rllib_seq.serving.openrtb.request import BidRequest

__all__ = ["gpp_opted_out", "may_remember", "tcf_consents", "us_privacy_opted_out"]

_PURPOSES = (1, 3, 4)
"""To store an id, to make a profile for advertising, and to use it."""
_PURPOSES_AT = 152
_BASE64 = {
    letter: number
    for number, letter in enumerate(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )
}
_TCF_EU, _US_PRIVACY = 2, 6
_OPT_OUTS = {
    # Of each section: where its two-bit fields "sold", "shared" and "targeted" begin.
    7: (18, 20, 22),  # national
    8: (12, 14),  # California
    9: (12, 14),  # Virginia
    10: (12, 14),  # Colorado
    11: (14, 16),  # Utah
    12: (12, 14),  # Connecticut
}
_OPTED_OUT = 1


def may_remember(request: BidRequest) -> bool:
    """Whether a user's past may be kept and used; False for children, opt-outs and screens."""
    device, regs = request.device, request.regs
    if request.dooh is not None:
        return False  # the ids are of a screen
    if device is not None and (device.dnt == 1 or device.lmt == 1):
        return False
    if regs is None:
        return True
    ext = regs.ext
    if regs.coppa == 1:
        return False
    if regs.gdpr == 1 or (ext is not None and ext.gdpr == 1):
        user = request.user
        consent = user and (user.consent or (user.ext and user.ext.consent))
        if not consent or not tcf_consents(consent):
            return False
    if regs.gpc == "1" or (ext is not None and ext.gpc == "1"):
        return False
    us_privacy = regs.us_privacy or (ext and ext.us_privacy)
    if us_privacy and us_privacy_opted_out(us_privacy):
        return False
    gpp, sections = regs.gpp, regs.gpp_sid
    if ext is not None:
        gpp, sections = gpp or ext.gpp, sections or ext.gpp_sid
    return not ((sections or gpp) and gpp_opted_out(gpp or "", tuple((sections or ())[:32])))


@lru_cache(maxsize=4096)
def tcf_consents(text: str) -> bool:
    """Whether a TCF string consents to storing an id and to profiles for advertising."""
    bits = _bits(text.split(".")[0])
    if bits is None or len(bits) < _PURPOSES_AT + 24 or int(bits[:6], 2) != 2:
        return False
    return all(bits[_PURPOSES_AT + purpose - 1] == "1" for purpose in _PURPOSES)


def us_privacy_opted_out(text: str) -> bool:
    """Whether a US privacy string, `1YNN` say, opts out of sale.

    >>> us_privacy_opted_out("1YYN"), us_privacy_opted_out("1YNN"), us_privacy_opted_out("1---")
    (True, False, False)
    """
    text = text.strip().upper()
    known = len(text) == 4 and text[0] == "1" and set(text[1:]) <= set("YN-")
    return not known or text[2] == "Y"


@lru_cache(maxsize=4096)
def gpp_opted_out(text: str, sections: tuple[int, ...]) -> bool:
    """Whether the sections of a GPP string that apply opt out, or lack consent.

    Args:
        text: the string, its sections parted by `~`.
        sections: ids of those that apply (`gpp_sid`); without one, those of the US in the string.
    """
    header, *contents = text.split("~")
    ids = _section_ids(header)
    if not sections:
        if ids is None:
            return True
        sections = tuple(each for each in ids if each >= _US_PRIVACY)
    ours = [each for each in sections if each in _OPT_OUTS or each in (_TCF_EU, _US_PRIVACY)]
    if not ours:
        # A state whose encoding is not known here (13 and up): the cautious answer.
        return any(each > max(_OPT_OUTS) for each in sections)
    if ids is None or len(ids) != len(contents):
        return True
    content_of = dict(zip(ids, contents, strict=True))
    return any(each not in content_of or _opts_out(each, content_of[each]) for each in ours)


def _opts_out(section: int, content: str) -> bool:
    if section == _TCF_EU:
        return not tcf_consents(content)
    if section == _US_PRIVACY:
        return us_privacy_opted_out(content)
    core, *more = content.split(".")
    bits = _bits(core)
    if bits is None or len(bits) < max(_OPT_OUTS[section]) + 2:
        return True
    if any((_bits(part) or "").startswith("011") for part in more):
        return True  # the browser's Global Privacy Control
    return any(int(bits[at : at + 2], 2) == _OPTED_OUT for at in _OPT_OUTS[section])


def _section_ids(header: str) -> list[int] | None:
    """The ids of a GPP header: type 3, version, then ranges of Fibonacci-coded steps."""
    bits = _bits(header)
    if bits is None or len(bits) < 24 or int(bits[:6], 2) != 3:
        return None
    ids: list[int] = []
    at, last = 24, 0
    for _ in range(int(bits[12:24], 2)):
        is_range, at = bits[at : at + 1] == "1", at + 1
        ends = []
        for _ in range(2 if is_range else 1):
            end = bits.find("11", at)
            if end < 0:
                return None
            last += _fibonacci(bits[at : end + 1])
            ends.append(last)
            at = end + 2
        if ends[-1] - ends[0] > 64:
            return None
        ids += range(ends[0], ends[-1] + 1)
    return ids


def _fibonacci(bits: str) -> int:
    total, weight, following = 0, 1, 2
    for bit in bits:
        total += weight if bit == "1" else 0
        weight, following = following, weight + following
    return total


def _bits(text: str) -> str | None:
    """The bits of base64 letters; None if there are others."""
    if not text or len(text) > 4096 or not all(letter in _BASE64 for letter in text):
        return None
    return "".join(f"{_BASE64[letter]:06b}" for letter in text)
