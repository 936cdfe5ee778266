"""What is in a public address says nothing."""

import base64
import struct

from rllib_seq.serving.openrtb.bid_ids import Bid, BidSealer

BID = Bid(5, -7, 3, 1, 2, 0.25, 1e9)


def test_ids_cannot_be_forged():
    sealer = BidSealer(b"one")
    name = sealer.seal(BID)
    assert sealer.read(name) == BID
    assert BidSealer(b"two").read(name) is None
    for place in range(0, len(name), 7):
        changed = name[:place] + ("A" if name[place] != "A" else "B") + name[place + 1 :]
        assert sealer.read(changed) is None
    for text in ("", "A", "é", "A" * 91, name[:-4]):
        assert sealer.read(text) is None


def test_flags_come_back():
    sealer = BidSealer(b"one")
    for remembered in (False, True):
        for test in (False, True):
            bid = BID._replace(remembered=remembered, test=test)
            assert sealer.read(sealer.seal(bid)) == bid


def test_ids_reveal_neither_the_user_nor_the_bid():
    sealer, bid = BidSealer(b"one"), BID._replace(user=0x1122334455667788, amount=0.123456789)
    seen = [base64.urlsafe_b64decode(sealer.seal(bid) + "=") for _ in range(20)]
    assert len(set(seen)) == 20  # the same bid never looks the same
    for part in (struct.pack("<q", bid.user), struct.pack(">q", bid.user)):
        assert not any(part in each for each in seen)
    assert not any(struct.pack("<d", bid.amount) in each for each in seen)
    # Users who differ are not separated by any byte that stays the same.
    assert all(len({each[place] for each in seen}) > 1 for place in range(len(seen[0])))


def test_a_click_leads_nowhere_else():
    sealer = BidSealer(b"one")
    token = sealer.seal_click("bid", "https://example.com/a?b=c&d=é")
    assert sealer.read_click(token) == ("bid", "https://example.com/a?b=c&d=é")
    assert BidSealer(b"two").read_click(token) is None
    assert sealer.read_click(token[:-1] + ("A" if token[-1] != "A" else "Q")) is None
    assert sealer.read(token) is None
    assert sealer.read_click(sealer.seal(BID)) is None
