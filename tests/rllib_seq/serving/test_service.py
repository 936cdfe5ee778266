"""Budget, caps, crash and memory of the bid service, without HTTP."""

import numpy as np
import pytest
from serving_helpers import HOUR, always, ask, past_of

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.identity import user_key
from rllib_seq.serving.settings import Settings


def bid_of(service, user):
    """The next bid on a user, within some requests."""
    for _ in range(50):
        (answer,) = service.answer([ask(user)])
        if answer.bid is not None:
            return answer.bid
    raise AssertionError("the policy never bids")


def test_a_budget_is_never_overspent_however_many_bids_are_open(journey, serve, clock):
    service = serve(journey, budget=1.0)
    always(service, 16)  # 0.3
    answers = [service.answer([ask(user)])[0] for user in range(10)]
    bids = [answer.bid for answer in answers if answer.bid is not None]
    assert len(bids) == 3  # 0.9 is set aside
    assert {answer.why for answer in answers[3:]} == {"budget"}
    assert service.notice("loss", service.sealer.seal(bids[0])) == "counted"
    assert service.notice("win", service.sealer.seal(bids[1]), price=0.1) == "counted"
    # 1 - 0.1 spent - 0.3 set aside: two more.
    more = service.answer([ask(user) for user in range(20, 25)])
    assert [answer.why for answer in more] == ["bid", "bid", "budget", "budget", "budget"]
    clock.now += 400.0  # the holds have ended
    late = service.answer([ask(user) for user in range(30, 35)])
    assert [answer.why for answer in late] == ["bid"] * 3 + ["budget"] * 2


def test_a_notice_counts_once_however_late(journey, serve, clock):
    service = serve(journey, budget=5.0)
    name = service.sealer.seal(bid_of(service, 1))
    clock.now += 24 * HOUR  # long after its hold has ended
    assert service.notice("win", name, price=0.02) == "counted"
    assert service.notice("win", name, price=0.02) == "known"
    assert service.notice("billing", name, price=0.02) == "known"
    assert service.notice("click", name) == "counted"
    assert service.notice("click", name) == "known"
    assert service.notice("conversion", name, event="order 1") == "counted"
    assert service.notice("conversion", name, event="order 1") == "known"
    assert service.notice("conversion", name, event="order 2", value=0.5) == "counted"
    other = "B" if name[0] == "A" else "A"  # the last one's bits do not all count
    assert service.notice("win", other + name[1:], price=0.02) == "unknown"
    assert service.notice("win", "no id", price=0.02) == "unknown"
    totals = service.money.totals
    assert totals["spend"] == 0.02
    assert totals["value"] == 1.5
    assert (totals["wins"], totals["clicks"], totals["conversions"]) == (1, 1, 2)
    assert service.counts["win:unknown"] == 2


def test_billing_alone_spends_where_it_is_chosen(journey, serve):
    service = serve(journey, charge="billing")
    name = service.sealer.seal(bid_of(service, 1))
    assert service.notice("win", name, price=0.02) == "ignored"
    assert service.money.spend == 0
    assert service.notice("billing", name, price=0.03) == "counted"
    assert service.money.spend == 0.03


def test_a_frequency_cap_counts_impressions_and_open_bids(journey, serve, clock):
    service = serve(journey, cap=2, cap_hours=24.0, hold_seconds=60.0)
    always(service, 5)
    first, second, third = (service.answer([ask(7)])[0] for _ in range(3))
    assert [first.why, second.why, third.why] == ["bid", "bid", "cap"]
    service.notice("loss", service.sealer.seal(first.bid))
    third = service.answer([ask(7)])[0]
    assert third.why == "bid"
    for bid in (second.bid, third.bid):
        service.notice("win", service.sealer.seal(bid), price=0.001)
    clock.now += 23 * HOUR
    assert service.answer([ask(7)])[0].why == "cap"
    assert service.answer([ask(8)])[0].why == "bid"
    clock.now += 2 * HOUR
    assert service.answer([ask(7)])[0].why == "bid"


def test_a_floor_above_the_bid_gets_none(journey, serve):
    service = serve(journey)
    always(service, 5)
    assert service.answer([ask(1, floor=1.0)])[0].why == "floor"


def test_no_bids_after_the_flight(journey, serve, clock):
    service = serve(journey, flight_hours=2.0, budget=1.0)
    always(service, 5)
    assert service.answer([ask(1)])[0].why == "bid"
    clock.now += 3 * HOUR
    assert service.answer([ask(1)])[0].why == "over"


def test_pacing_holds_back_when_too_much_is_spent(journey, serve, clock):
    service = serve(journey, flight_hours=100.0, budget=1.0, pacing="proportional")
    always(service, 16)
    name = service.sealer.seal(service.answer([ask(1)])[0].bid)
    service.notice("win", name, price=0.3)
    clock.now += HOUR
    assert service.answer([ask(2)])[0].bid.amount == pytest.approx(0.3 * 0.7 / 0.99, rel=1e-3)


def test_what_was_written_is_there_after_a_crash(journey, serve, clock, tmp_path):
    """The first server is never closed; its file is copied as a crash would leave it."""
    crashed = serve(journey, str(tmp_path / "a.sqlite"), budget=5.0)
    whole = serve(journey, budget=5.0)
    bids = []
    for _ in range(6):
        bids = [service.answer([ask(1), ask(2)]) for service in (crashed, whole)]
        clock.now += HOUR
        assert [a.why for a in bids[0]] == [a.why for a in bids[1]]
    for service in (crashed, whole):
        always(service, 9)
    names = [service.sealer.seal(service.answer([ask(1)])[0].bid) for service in (crashed, whole)]
    for service, name in zip((crashed, whole), names, strict=True):
        assert service.notice("win", name, price=0.01) == "counted"
    for suffix in ("", "-wal"):
        source = tmp_path / f"a.sqlite{suffix}"
        (tmp_path / f"b.sqlite{suffix}").write_bytes(source.read_bytes())
    back = serve(journey, str(tmp_path / "b.sqlite"), budget=5.0)
    assert back.money.totals == crashed.money.totals
    assert back.notice("win", names[0], price=0.01) == "known"
    for service in (back, whole):
        service.memory.claim(np.array([1]), service.clock.hour())
    np.testing.assert_array_equal(past_of(back, 1).states, past_of(whole, 1).states)
    again = [service.answer([ask(1), ask(2)]) for service in (back, whole)]
    assert [a.why for a in again[0]] == [a.why for a in again[1]]


def test_two_servers_cannot_have_one_file(journey, serve, tmp_path):
    serve(journey, str(tmp_path / "a.sqlite"))
    with pytest.raises(UserError, match="in use by another server"):
        serve(journey, str(tmp_path / "a.sqlite"))


def test_users_pass_through_bounded_memory_and_come_back(journey, serve, clock):
    """512 in memory, 3,000 users; the storage brings back anyone who made room."""
    service = serve(journey)
    service.answer([ask(0)])
    nbytes = service.sessions.nbytes
    past = past_of(service, 0)
    for start in range(1, 3000, 50):
        clock.now += 1.0
        service.answer([ask(user) for user in range(start, start + 50)])
    assert len(service.sessions) <= 512
    assert service.sessions.nbytes == nbytes
    assert service.sessions.find(0) is None
    service.memory.claim(np.array([0]), service.clock.hour())
    np.testing.assert_array_equal(past_of(service, 0).states, past.states)


def test_a_withdrawn_bid_gives_its_budget_back(journey, serve):
    service = serve(journey, budget=0.3)
    always(service, 16)
    bid = service.answer([ask(1)])[0].bid
    assert service.answer([ask(2)])[0].why == "budget"
    service.withdraw(bid)
    assert service.answer([ask(2)])[0].why == "bid"


def test_a_policy_without_a_budget_does_not_see_one(journey, display, serve):
    """It never saw other shares than 1; the limit holds all the same."""
    for policy, sees in ((journey, False), (display, True)):
        service = serve(policy, budget=0.5)
        always(service, 16)
        shares = []
        observe = service.sessions.observe

        def observed(*arguments, observe=observe, shares=shares):
            shares.append(arguments[4])
            return observe(*arguments)

        service.sessions.observe = observed
        for user in range(3):
            bid = service.answer([ask(user)])[0].bid
            if bid is not None:
                service.notice("win", service.sealer.seal(bid), price=bid.amount)
        assert (shares[-1] < 1.0) == sees
        assert 0 < service.money.spend <= 0.5


def test_keys_of_users_depend_on_the_secret():
    assert user_key("a", None) == user_key("a", None) != user_key("b", None)
    assert len({user_key("a", secret) for secret in (None, "x", "y" * 100)}) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": -1.0}, "--budget is -1.0"),
        ({"tmax_ms": 3.0}, "--margin-ms is 5.0"),
        ({"pacing": "fast"}, "--pacing is 'fast'"),
        ({"token": "short"}, "shorter than 16"),
        ({"max_users": 0}, "--max-users is 0"),
        ({"explore": 2.0}, "--explore is 2.0"),
        ({"charge": "click"}, "--charge is 'click'"),
        ({"price_unit": "cents"}, "--price-unit is 'cents'"),
        ({"public_url": "bids.example.com"}, "--public-url is 'bids.example.com'"),
        ({"public_url": "https://"}, "--public-url is 'https://'; give https:// .* a host"),
        ({"public_url": "https://a.example:port/"}, "--public-url is"),
        ({"public_url": "https://a.example/?x=1"}, "--public-url is"),
        ({"currency": "euro"}, "--currency is 'euro'; give a code such as USD"),
        ({"cap": 10**9}, "--cap is 1000000000; give at most 1000"),
        ({"token": "short"}, "RLLIB_SEQ_TOKEN is shorter than 16"),
    ],
)
def test_bad_settings(changes, words):
    with pytest.raises(UserError, match=words):
        Settings(export="x", **changes)


def won(service, user=1):
    bid = bid_of(service, user)
    assert service.notice("win", service.sealer.seal(bid), price=bid.amount) == "counted"
    return service.sealer.seal(bid)


def test_one_wrong_price_does_not_end_a_campaign(journey, serve):
    service = serve(journey, budget=100.0)
    always(service, 16)  # 0.3
    for user, price in enumerate(["22494", "2.2494e10", "inf", "${AUCTION_PRICE}", "", "nan"]):
        name = service.sealer.seal(service.answer([ask(user)])[0].bid)
        assert service.notice("win", name, price=price) == "counted"
    assert service.money.spend == pytest.approx(6 * 0.3)
    flags = {name: n for name, n in service.counts.items() if name.startswith("flag:")}
    assert flags == {"flag:above": 3, "flag:macro": 1, "flag:missing": 1, "flag:unreadable": 1}
    assert service.answer([ask(50)])[0].why == "bid"


def test_conversions_of_a_bid_are_limited_in_number_and_value(journey, serve):
    service = serve(journey, max_conversions=2, max_conversion_value=5.0)
    name = won(service)
    outcomes = [
        service.notice("conversion", name, event=str(number), value=value)
        for number, value in enumerate(["1e9", "-4", "7"])
    ]
    assert outcomes == ["counted", "counted", "ignored"]
    totals = service.money.totals
    assert (totals["conversions"], totals["value"]) == (2, 5.0)
    assert service.counts["flag:value"] == 2
    assert service.counts["ignored:limit"] == 1
    plain = serve(journey)
    name = won(plain)
    values = [None, "", "nan", "many", "0.25"]
    for number, value in enumerate(values):
        assert plain.notice("conversion", name, event=str(number), value=value) == "counted"
    worth = plain.policy.spec.facts["conversion_value"][0]
    assert plain.money.totals["value"] == pytest.approx(4 * worth + 0.25)
    assert plain.counts["flag:value"] == 2


def test_without_a_win_there_is_no_conversion(journey, serve):
    service = serve(journey)
    name = service.sealer.seal(bid_of(service, 1))
    assert service.notice("conversion", name, event="1") == "ignored"
    assert service.notice("loss", name) == "counted"
    assert service.notice("conversion", name, event="1") == "ignored"
    assert service.counts["ignored:no_win"] == 2
    assert service.money.totals["conversions"] == 0


def test_what_a_bid_leaves_in_the_books_is_bounded(journey, serve):
    """Its id stands in public pages, and anyone who reads it can call with it."""
    service = serve(journey)
    name = won(service)
    for number in range(300):
        for kind in ("win", "click", "visit", "conversion"):
            service.notice(kind, name, price="1", event=f"e{number}")
    totals = service.money.totals
    assert (totals["wins"], totals["clicks"]) == (1, 1)
    assert totals["visits"] == 100
    assert totals["conversions"] == 10
    assert len(list(service._storage.notices())) == 112


def test_a_notice_is_taken_as_long_as_it_would_be_known(journey, serve, clock):
    service = serve(journey, notice_days=2.0)
    name, other = won(service), service.sealer.seal(bid_of(service, 2))
    for _ in range(30):
        clock.now += 2 * HOUR
        service.answer([ask(3)])  # prunes
        assert service.notice("win", name, price="1") in ("known", "ignored")
    assert service.counts["win:known"] >= 23
    assert service.counts["ignored:expired"] >= 5
    assert service.notice("win", other, price="1") == "ignored"
    assert service.money.totals["wins"] == 1
    assert list(service._storage.notices()) == []
