"""Auctions as pure functions over arrays; money in currency units per impression (or click).

Own bid against a market price (the highest competing bid), arrays `[n]`:

- `soft_floor_price`: the rule behind all auctions of one slot. Its special cases:
- `second_price`: the winner pays what they had to beat (soft floor 0).
- `first_price`: the winner pays their bid (soft floor infinity).
- `ChannelAuctions`: every channel sells by a rule of its own.
- `own_slot`: GSP, own bid against the competing bids for several slots.

All bidders at once, matrices `[n, B]` (auctions, bidders); equal bids go to the lower index, and an
own bid counts as index 0, so it wins ties:

- `top_two`, `sell`, `minimum_to_win`: one slot, by any of the rules above.
- `gsp`, `vcg`: several slots with quality scores.

A bid takes part when it is positive and reaches the (hard) floor. The market price is given: it
never depends on our own bid.

Sources: Vickrey (1961); Edelman, Ostrovsky and Schwarz (2007) and Varian (2007) on GSP; Aggarwal,
Goel and Motwani (2006) on truthful prices of slots; Zeithammer (2019) on soft floors; OpenRTB 2.6.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Auction = Callable[[Floats, Floats, "Floats | float"], tuple[Bools, Floats]]

FIRST_PRICE = math.inf
"""The soft floor of a first-price auction."""
SECOND_PRICE = 0.0
"""The soft floor of a second-price auction."""


def soft_floor_price(
    bids: Floats,
    market_prices: Floats,
    floor: Floats | float,
    soft_floor: Floats | float,
    increment: float = 0.0,
) -> tuple[Bools, Floats]:
    """Clear auctions with a soft floor: below it winners pay their bid, above it what they beat.

        price = min(bid, max(floor, soft floor, market price + increment))

    Args:
        bids: `[n]`; 0 means no bid.
        market_prices: `[n]`, the highest competing bid of each auction; 0 for none.
        floor: hard floor, the lowest bid at which the seller sells; `[n]` or one for all.
        soft_floor: the same.
        increment: what second price adds to the bid that was beaten (OpenRTB: one cent).

    Returns:
        `won [n]` and the clearing price `paid [n]`, at most the bid, 0 where lost.
    """
    won = (bids > 0) & (bids >= np.maximum(market_prices, floor))
    least = np.maximum(np.maximum(floor, soft_floor), market_prices + increment)
    return won, np.where(won, np.minimum(bids, least), 0.0)


def second_price(
    bids: Floats, market_prices: Floats, floor: Floats | float, increment: float = 0.0
) -> tuple[Bools, Floats]:
    """Clears second-price auctions, see `soft_floor_price`."""
    return soft_floor_price(bids, market_prices, floor, SECOND_PRICE, increment)


def first_price(bids: Floats, market_prices: Floats, floor: Floats | float) -> tuple[Bools, Floats]:
    """Clears first-price auctions, see `soft_floor_price`."""
    return soft_floor_price(bids, market_prices, floor, FIRST_PRICE)


AUCTIONS: dict[str, Auction] = {"second_price": second_price, "first_price": first_price}


class ChannelAuctions(NamedTuple):
    """One slot per auction; every channel has floors of its own.

    >>> rules = ChannelAuctions(np.array([0.1, 0.1]), np.array([FIRST_PRICE, SECOND_PRICE]))
    >>> rules.clear(np.array([0.5, 0.5]), np.array([0.2, 0.2]), np.array([0, 1]))[1]
    array([0.5, 0.2])
    """

    floor: Floats
    """`[C]`, hard floor."""
    soft_floor: Floats
    """`[C]`; `FIRST_PRICE` and `SECOND_PRICE` are values of it."""
    increment: float = 0.0

    def clear(self, bids: Floats, market_prices: Floats, channel: Ints) -> tuple[Bools, Floats]:
        """`won [n]` and `paid [n]` of bids on the channels `[n]`, see `soft_floor_price`."""
        floor, soft_floor = self.floor[channel], self.soft_floor[channel]
        return soft_floor_price(bids, market_prices, floor, soft_floor, self.increment)


class TopTwo(NamedTuple):
    """The two highest bids of each auction, each `[n]`."""

    winner: Ints
    best: Floats
    runner_up: Floats
    """0 if there is only one bidder."""


def top_two(bids: Floats) -> TopTwo:
    """Finds the two highest of the bids `[n, B]`, all auctions in lockstep, bidder by bidder."""
    best = bids[:, 0].copy()
    runner_up = np.zeros(len(bids))
    winner = np.zeros(len(bids), np.int64)
    for i in range(1, bids.shape[1]):
        bid = bids[:, i]
        winner[bid > best] = i
        np.maximum(runner_up, np.minimum(best, bid), out=runner_up)
        np.maximum(best, bid, out=best)
    return TopTwo(winner, best, runner_up)


def sell(auction: Auction, bids: Floats, floor: Floats | float) -> tuple[Ints, Floats]:
    """Sells one slot per auction to the highest of all bidders.

    Args:
        auction: a value of `AUCTIONS`, or any rule of that form.
        bids: `[n, B]`.
        floor: hard floor, `[n]` or one for all.

    Returns:
        `winner [n]`, -1 where nothing was sold, and `paid [n]`.
    """
    winner, best, runner_up = top_two(bids)
    sold, paid = auction(best, runner_up, floor)
    return np.where(sold, winner, -1), paid


def minimum_to_win(bids: Floats, winner: Ints, paid: Floats, floor: Floats | float) -> Floats:
    """What OpenRTB's `${AUCTION_MIN_TO_WIN}` tells each bidder, `[n, B]`.

    Winners learn what they had to bid: the runner-up or the floor. Losers learn the clearing
    price, with which they would not have won in second price. Nothing sold: the floor.

    Args:
        bids: `[n, B]`.
        winner: `[n]`, as `sell` returns it.
        paid: `[n]`, the same.
        floor: hard floor, `[n]` or one for all.
    """
    to_losers = np.where(winner < 0, floor, paid)
    to_winner = np.maximum(top_two(bids).runner_up, floor)
    is_winner = winner[:, None] == np.arange(bids.shape[1])
    return np.where(is_winner, to_winner[:, None], to_losers[:, None])


def own_slot(bids: Floats, competing: Floats, floor: Floats | float) -> tuple[Ints, Floats]:
    """GSP with one own bid per auction: column 0 of `gsp`, qualities equal.

    Args:
        bids: `[n]`, own bids.
        competing: `[n, S]`, the S highest competing bids, highest first; 0 for none.
        floor: hard floor, `[n]` or one for all.

    Returns:
        `slot [n]`, 0 is the best and S means none, and `paid [n]`: the highest bid that was beaten,
        at least the floor.
    """
    num_slots = competing.shape[1]
    slot = (competing > bids[:, None]).sum(axis=1)
    slot = np.where((bids > 0) & (bids >= floor), slot, num_slots)
    beaten = np.take_along_axis(competing, np.minimum(slot, num_slots - 1)[:, None], axis=1)[:, 0]
    return slot, np.where(slot < num_slots, np.maximum(beaten, floor), 0.0)


class Slots(NamedTuple):
    """Who gets the slots, best slot first, each `[n, S]`."""

    bidder: Ints
    """-1 where a slot stays empty."""
    price: Floats
    """Per click (or impression) of the slot, at most the bid; 0 where empty."""


def gsp(
    bids: Floats, num_slots: int, quality: ArrayLike = 1.0, floor: Floats | float = 0.0
) -> Slots:
    """Generalized second price: price = next ad rank / own quality, never above the own bid.

    The ad rank is bid * quality; slots go in its order. With one slot and equal qualities it is
    the second-price auction.

    Args:
        bids: `[n, B]`, per click.
        num_slots: S.
        quality: positive scores, `[n, B]` or what broadcasts to it.
        floor: hard floor of bids and prices, `[n]` or one for all.
    """
    bidder, rank, own = _ranked(bids, num_slots, quality, floor)
    following = rank[:, 1:] / own.quality  # (n, S)
    price = np.minimum(own.bid, np.maximum(own.floor, following))
    return Slots(bidder, np.where(bidder >= 0, price, 0.0))


def vcg(
    bids: Floats, clicks: ArrayLike, quality: ArrayLike = 1.0, floor: Floats | float = 0.0
) -> Slots:
    """Vickrey-Clarke-Groves for slots: everyone pays what their presence takes from the others.

    With c_s clicks in slot s (c_S = 0 beyond the last) the bidder in slot s pays per click

        sum over t > s of (c_(t-1) - c_t) * max(floor, rank_t / own quality)   divided by   c_s,

    which with the floor is still the truthful price (the integral of their critical bids).

    Args:
        bids: `[n, B]`, per click.
        clicks: `[S]`, positive and not increasing: click rate of each slot.
        quality: as for `gsp`.
        floor: the same.
    """
    clicks = np.append(np.asarray(clicks, np.float64), 0.0)
    num_slots = len(clicks) - 1
    bidder, rank, own = _ranked(bids, num_slots, quality, floor)
    price = np.zeros(bidder.shape)
    for slot in range(num_slots):
        for t in range(slot + 1, num_slots + 1):
            critical = np.maximum(own.floor[:, 0], rank[:, t] / own.quality[:, slot])
            price[:, slot] += (clicks[t - 1] - clicks[t]) * critical / clicks[slot]
    return Slots(bidder, np.where(bidder >= 0, np.minimum(own.bid, price), 0.0))


class _Own(NamedTuple):
    """What belongs to the bidders of the slots."""

    bid: Floats  # (n, S)
    quality: Floats  # (n, S)
    floor: Floats  # (n, 1)


def _ranked(
    bids: Floats, num_slots: int, quality: ArrayLike, floor: Floats | float
) -> tuple[Ints, Floats, _Own]:
    """Bidders `[n, S]` of the slots (-1: empty), ranks `[n, S + 1]` (0: none), what is theirs."""
    if num_slots < 1:
        raise ValueError(f"num_slots is {num_slots}; give at least 1")
    quality = np.broadcast_to(np.asarray(quality, np.float64), bids.shape)
    floors = np.broadcast_to(np.asarray(floor, np.float64), len(bids))[:, None]
    takes_part = (bids > 0) & (bids >= floors)
    ranks = np.where(takes_part, bids * quality, 0.0)
    missing = num_slots + 1 - bids.shape[1]
    order = np.argsort(-ranks, axis=1, kind="stable")[:, : num_slots + 1]
    rank = np.take_along_axis(ranks, order, axis=1)
    if missing > 0:
        rank = np.pad(rank, [(0, 0), (0, missing)])
        order = np.pad(order, [(0, 0), (0, missing)])
    own = order[:, :num_slots]
    bidder = np.where(rank[:, :num_slots] > 0, own, -1)
    own_bid, own_quality = (np.take_along_axis(part, own, axis=1) for part in (bids, quality))
    return bidder, rank, _Own(own_bid, own_quality, floors)
