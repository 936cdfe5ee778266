"""Ids of users: which is taken, and which are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.identity import ID_KINDS, Identities, is_id
from rllib_seq.serving.openrtb.request import BidRequest

IDS = Identities(ID_KINDS, None)


def key_of(ids=IDS, exchange="", **parts):
    body = {"id": "r", "imp": [{"id": "1", "banner": {}}], **parts}
    return ids.key_of(BidRequest.model_validate(body), exchange)


def eid(source, *ids):
    return {"source": source, "uids": [{"id": each, "atype": 1} for each in ids]}


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "\t\n", "null", "NULL", "None", "undefined", "unknown", "Unknown ", "NaN"),
        *(
            "0",
            "000000",
            "00000000-0000-0000-0000-000000000000",
            "00000000000000000000000000000000",
        ),
        *("ffffffff-ffff-ffff-ffff-ffffffffffff", "XXXXXXXX-XXXX", "----", "a\0b", "a\x1fb"),
        *(
            "${USER_ID}",
            "{IDFA}",
            "[IDFA]",
            "%%ADVERTISING_ID%%",
            "__IDFA__",
            "$$ID$$",
            "$UID",
            "#ID#",
            "%ID%",
            "x" * 5000,
        ),
        *("false", "-1", "opt-out"),
    ],
)
def test_what_is_no_id(text):
    assert not is_id(text)
    assert key_of(user={"id": text, "buyeruid": text}, device={"ifa": text}) is None


@given(st.uuids(version=4))
def test_what_is_an_id(uuid):
    assert is_id(str(uuid))
    assert is_id(uuid.hex.upper())


@pytest.mark.parametrize("text", ["alice", "1", "12345", "пользователь-😀-ﷺ", "AAAA-BBBB", "0a"])
def test_short_and_foreign_ids(text):
    assert key_of(user={"id": text}) is not None


def test_the_order_of_ids():
    user = {"buyeruid": "b", "id": "i", "eids": [eid("id5-sync.com", "e")]}
    device = {"ifa": "f"}
    every = [
        key_of(user=user, device=device),
        key_of(user={**user, "buyeruid": " "}, device=device),
        key_of(user={"id": "i"}, device=device),
        key_of(user={"id": "i"}, device={"ifa": "0000"}),
    ]
    assert every == [
        *(IDS.key("buyeruid", "b"), IDS.key("eids", "e", "id5-sync.com")),
        *(IDS.key("ifa", "f"), IDS.key("id", "i")),
    ]
    assert len(set(every)) == 4
    other = Identities(("ifa", "eids:id5-sync.com"), None)
    assert key_of(other, user=user, device=device) == IDS.key("ifa", "f")
    assert key_of(other, user=user) == IDS.key("eids", "e", "id5-sync.com")
    assert key_of(other, user={"buyeruid": "b", "eids": [eid("x.com", "e")]}) is None
    with pytest.raises(UserError, match="--ids has 'cookie'; choose from buyeruid"):
        Identities(("cookie",), None)


def test_ids_of_different_kinds_sources_and_exchanges_never_collide():
    same = "4f1c"
    keys = [
        key_of(user={"buyeruid": same}),
        key_of(device={"ifa": same}),
        key_of(user={"id": same}),
        key_of(user={"id": same}, exchange="one"),
        key_of(user={"id": same}, exchange="two"),
        key_of(user={"eids": [eid("one", same)]}),
        key_of(user={"eids": [eid("two", same)]}),
        key_of(Identities(ID_KINDS, "secret"), user={"id": same}),
    ]
    assert len(set(keys)) == len(keys)


def test_what_is_the_same_user():
    assert key_of(device={"ifa": "ABC-1"}) == key_of(device={"ifa": "abc-1"})
    assert (
        key_of(user={"id": 12345}) == key_of(user={"id": "12345"}) == key_of(user={"id": 12345.0})
    )
    new, old = key_of(user={"eids": [eid("a.com", "1x")]}), [eid("a.com", "1x")]
    assert new == key_of(user={"ext": {"eids": old}})
    # An exchange may sort sources as it likes, and has empty ones among them.
    sources = [eid("b.com", "2x"), eid("a.com", "", "1x"), eid("c.com")]
    assert key_of(user={"eids": sources}) == key_of(user={"eids": sources[::-1]}) == new
    assert key_of(user={"eids": [{"source": "a.com", "uids": []}]}) is None
