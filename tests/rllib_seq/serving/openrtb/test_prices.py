"""What is booked for a price, whatever stands in the notice."""

import base64
import math
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rllib_seq.errors import UserError
from rllib_seq.serving.credentials import has_password, read_secret, without_password
from rllib_seq.serving.openrtb.prices import FLAGS, PriceKeys, PriceReader, open_price, seal_price
from rllib_seq.serving.settings import Settings

BID = 0.003  # 3.00 per thousand
KEYS = PriceKeys(bytes(range(32)), bytes(range(32, 64)))
PLAIN = PriceReader("cpm", None)


@pytest.mark.parametrize(
    ("text", "amount", "flag"),
    [
        ("2.5", 0.0025, ""),
        (" 2.5 ", 0.0025, ""),
        ("0", 0.0, ""),
        ("3", BID, ""),
        ("3.01", BID, "above"),
        ("22494", BID, "above"),
        ("2500000", BID, "above"),
        ("1e400", BID, "above"),
        ("inf", BID, "above"),
        ("-1", BID, "negative"),
        ("-inf", BID, "negative"),
        ("nan", BID, "unreadable"),
        ("2,5", BID, "unreadable"),
        ("1_0", BID, "unreadable"),
        ("\u0662", BID, "unreadable"),
        ("2.5USD", BID, "unreadable"),
        ("", BID, "missing"),
        (None, BID, "missing"),
        ("${AUCTION_PRICE}", BID, "macro"),
        ("$%7BAUCTION_PRICE%7D", BID, "macro"),
        ("%24%7BAUCTION_PRICE%7D", BID, "macro"),
        ("%%WINNING_PRICE%%", BID, "macro"),
    ],
)
def test_a_plain_price(text, amount, flag):
    booked = PLAIN.booked(text, BID)
    assert (booked.amount, booked.flag) == (pytest.approx(amount), flag)
    assert flag == "" or flag in FLAGS


def test_micros_are_millionths():
    assert PriceReader("micros", None).booked("2500000", BID).amount == pytest.approx(0.0025)
    assert PriceReader("micros", None).booked("2.5", BID).amount == pytest.approx(2.5e-9)


@pytest.mark.slow
@given(st.one_of(st.text(), st.floats().map(str), st.binary().map(repr), st.floats()))
def test_nothing_costs_more_than_the_bid_or_less_than_nothing(price):
    for keys in (None, KEYS):
        booked = PriceReader("cpm", keys).booked(price, BID)
        assert 0.0 <= booked.amount <= BID
        assert math.isfinite(booked.amount)


@pytest.mark.slow
@given(st.integers(0, 2**63), st.binary(min_size=16, max_size=16))
def test_an_encrypted_price_comes_back_and_no_other_is_read(micros, vector):
    text = seal_price(micros, vector, KEYS)
    assert len(text) == 38
    assert open_price(text, KEYS) == open_price(text + "==", KEYS) == micros
    content = bytearray(base64.urlsafe_b64decode(text + "=="))
    for place in range(28):
        content[place] ^= 1
        assert open_price(base64.urlsafe_b64encode(content).decode(), KEYS) is None
        content[place] ^= 1
    assert open_price(text, PriceKeys(KEYS.integrity, KEYS.encryption)) is None


def test_an_encrypted_price_is_booked_if_the_keys_are_known():
    text = seal_price(2_500_000, secrets.token_bytes(16), KEYS)
    assert PriceReader("cpm", KEYS).booked(text, BID).amount == pytest.approx(0.0025)
    assert PriceReader("cpm", None).booked(text, BID) == (BID, "encrypted")
    assert PriceReader("cpm", KEYS).booked(text[:-2] + "AA", BID) == (BID, "encrypted")
    assert PriceReader("cpm", KEYS).booked("2.5", BID).flag == ""


def test_prices_that_google_publishes_for_tests_of_its_scheme():
    keys = PriceKeys.read(
        "skU7Ax_NL5pPAFyKdkfZjZz2-VhIN8bjj1rVFOaJ_5o=",
        "arO23ykdNqUQ5LEoQ0FVmPkBd7xB5CO89PDZlSjpFxo=",
    )
    known = {
        "YWJjMTIzZGVmNDU2Z2hpN7fhCuPemCce_6msaw": 100,
        "YWJjMTIzZGVmNDU2Z2hpN7fhCuPemCAWJRxOgA": 1900,
        "YWJjMTIzZGVmNDU2Z2hpN7fhCuPemC32prpWWw": 2700,
    }
    assert {text: open_price(text, keys) for text in known} == known


def test_keys_that_are_none():
    assert PriceKeys.read("AQID", "BAUG") == (b"\1\2\3", b"\4\5\6")
    with pytest.raises(UserError, match="the integrity key of prices is no base64") as error:
        PriceKeys.read("AQID", "secret words!")
    assert "secret" not in str(error.value)


def test_secrets_come_from_the_environment_or_a_file(monkeypatch, tmp_path):
    assert read_secret("TEST_KEY") is None
    monkeypatch.setenv("TEST_KEY", "one")
    assert read_secret("TEST_KEY") == "one"
    monkeypatch.setenv("TEST_KEY", "")
    with pytest.raises(UserError, match="TEST_KEY is empty"):
        read_secret("TEST_KEY")
    monkeypatch.setenv("TEST_KEY", "one")
    file = tmp_path / "key"
    monkeypatch.setenv("TEST_KEY_FILE", str(file))
    with pytest.raises(UserError, match="TEST_KEY and TEST_KEY_FILE are both set"):
        read_secret("TEST_KEY")
    monkeypatch.delenv("TEST_KEY")
    with pytest.raises(UserError, match="cannot read TEST_KEY_FILE"):
        read_secret("TEST_KEY")
    file.write_text("\n")
    with pytest.raises(UserError, match="is empty"):
        read_secret("TEST_KEY")
    file.write_text("two\n")
    assert read_secret("TEST_KEY") == "two"


def test_no_secret_is_shown():
    keys = PriceKeys(b"sesame-1", b"sesame-2")
    settings = Settings(export="x", token="sesame " * 4, user_secret="sesame", price_keys=keys)
    assert "sesame" not in repr(settings)
    assert without_password("redis://me:sesame@host:1/2?password=sesame") == "redis://host:1/2"
    assert has_password("redis://:sesame@host/0")
    assert has_password("redis://host/0?password=sesame")
    assert not has_password("redis://host:6379/0")
