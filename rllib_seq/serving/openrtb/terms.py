"""Deals that we hold, and rates of currencies.

- `Terms`: both; `load_terms` reads their files.

Deals: TOML or JSON, a list `deals` of tables with `id`, and if not all creatives are for it, their
`creatives` (crids). Rates: a table `rates`, how many units of our currency one unit of another is:
`EUR = 1.08`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.creatives import read_table

__all__ = ["HeldDeal", "Terms", "load_terms"]


class HeldDeal(BaseModel):
    """A deal that we may bid on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(min_length=1)]
    creatives: list[str] | None = None
    """Crids; none: all."""


class _Deals(BaseModel):
    model_config = ConfigDict(extra="forbid")

    deals: list[HeldDeal]


class _Rates(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    rates: dict[
        Annotated[str, Field(pattern="^[A-Za-z]{3}$")], Annotated[float, Field(gt=0, strict=False)]
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
        """A price in our currency; None without a rate. USD where nothing is said."""
        rate = self._rates.get((currency or "USD").upper())
        return None if rate is None else price * rate


def load_terms(currency: str, deals: str | None, rates: str | None) -> Terms:
    """Reads the files.

    Args:
        currency: of our bids.
        deals: path, or None.
        rates: path, or None.

    Raises:
        UserError: one cannot be read.
    """
    held: list[HeldDeal] = []
    known: dict[str, float] = {}
    path = ""
    try:
        if deals is not None:
            path = deals
            held = _Deals.model_validate(read_table(deals, "deals")).deals
        if rates is not None:
            path = rates
            known = _Rates.model_validate(read_table(rates, "rates")).rates
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{path!r}: {where}: {first['msg']}") from None
    return Terms(currency, held, known)
