"""Deals that we hold, and rates of currencies.

- `Terms`: both; `load_terms` reads their files.

Deals: TOML or JSON, a list `deals` of tables with `id`, and if not all creatives are for it, their
`creatives` (crids). Rates: a table `rates`, how many units of our currency one unit of another is:
`EUR = 1.08`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.tables import read_table

__all__ = ["HeldDeal", "Terms", "load_terms"]


class HeldDeal(BaseModel):
    """A deal that we may bid on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1)]
    creatives: Annotated[list[str], Field(min_length=1)] | None = None
    """Crids; none: all."""


class _Deals(BaseModel):
    model_config = ConfigDict(extra="forbid")

    deals: list[HeldDeal]


class _Rates(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    rates: dict[
        Annotated[str, Field(pattern="^[A-Za-z]{3}$")], Annotated[float, Field(gt=0, strict=True)]
    ]


class Terms:
    """On which terms we buy.

    Args:
        currency: of our bids.
        deals: that we hold.
        rates: units of our currency per unit of another.
    """

    def __init__(self, currency: str, deals: list[HeldDeal], rates: dict[str, float]) -> None:
        self.deals = {deal.id: deal for deal in deals}
        self.currency = currency.upper()
        self._rates = {name.upper(): rate for name, rate in rates.items()} | {self.currency: 1.0}

    def converted(self, price: float, currency: str | None) -> float | None:
        """A price in our currency; None without a rate.

        Where no currency is said it is USD, but no price is none in any.
        """
        if not price and not currency:
            return 0.0
        rate = self._rates.get((currency or "USD").upper())
        return None if rate is None else price * rate


def load_terms(
    currency: str, deals: str | None, rates: str | None, crids: Collection[str] | None = None
) -> Terms:
    """Reads the files.

    Args:
        currency: of our bids.
        deals: path, or None.
        rates: path, or None.
        crids: of the catalogue, which deals may name; None: any.

    Raises:
        UserError: one cannot be read, or is wrong.
    """
    held = [] if deals is None else read_table(deals, "deals", _Deals).deals
    known = {} if rates is None else read_table(rates, "rates", _Rates).rates
    names = [name.upper() for name in known]
    for name, rate in known.items():
        if names.count(name.upper()) > 1:
            raise UserError(f"rates {rates!r}: {name.upper()} stands there twice; give one rate")
        if name.upper() == currency.upper() and rate != 1:
            raise UserError(
                f"rates {rates!r}: {name} is the currency of bids, and {rate:g} units of it per "
                "unit; leave it out, or give another --currency"
            )
    for place, deal in enumerate(held):
        if deal.id in [other.id for other in held[:place]]:
            raise UserError(f"deals {deals!r}: two have the id {deal.id!r}; give each its own")
        strangers = [] if crids is None else sorted(set(deal.creatives or ()) - set(crids))
        if strangers:
            raise UserError(
                f"deals {deals!r}: {deal.id!r} is for the creative {strangers[0]!r}, which is not "
                "in the catalogue; give crids of it, or leave creatives out"
            )
    return Terms(currency, held, known)
