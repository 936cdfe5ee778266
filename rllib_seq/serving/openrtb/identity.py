"""Who the user of a request is, and whether they are remembered.

- `Identities`: from a request to the key of its user, or to none.
- `user_key`: what stands for a user.
- `is_id`: whether a text names someone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.consent import may_remember
from rllib_seq.serving.openrtb.request import BidRequest, Eid

__all__ = ["ID_KINDS", "Identities", "is_id", "user_key"]

ID_KINDS = ("buyeruid", "eids", "ifa", "id")
"""`user.buyeruid`, `user.eids`, `device.ifa`, `user.id`; `eids:SOURCE` is one source alone."""

_MOST_LETTERS = 4096
_NOBODY = frozenset(
    "null nil none undefined unknown anonymous nan n/a false true 0 -1 optout opt-out opt_out "
    "(null) <null> [null] invalid noid no_id no-id".split()
)
_NOT_PRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SEPARATORS = re.compile(r"[\s\-_:.{}()]+")
_MACRO = re.compile(r"^(\$?\{.*\}|\[.*\]|__.*__|<.*>|([@#%$]+)\w+\2|\$[A-Za-z_]\w*)$")


class Identities:
    """Finds the user of a request.

    Args:
        order: of `ID_KINDS`, the best first; only these are used. Sources of `eids` that are not
            named by themselves come in alphabetical order, so that a user has the same id however
            an exchange sorts them.
        secret: see `user_key`.

    Raises:
        UserError: an unknown kind.
    """

    def __init__(self, order: Sequence[str], secret: str | None) -> None:
        for each in order:
            if each not in ID_KINDS and not each.startswith("eids:"):
                raise UserError(
                    f"--ids has {each!r}; choose from {', '.join(ID_KINDS)} and eids:SOURCE"
                )
        self._order = tuple(order)
        self._secret = _hashed(secret)

    def key_of(self, request: BidRequest, exchange: str) -> int | None:
        """The key of the user who may be remembered; None without one.

        Args:
            request: that may name them.
            exchange: that sent it; `user.id` is its own.
        """
        if (request.user is None and request.device is None) or not may_remember(request):
            return None
        for kind, where, name in self._names(request, exchange):
            if is_id(name):
                return self.key(kind, name, where)
        return None

    def key(self, kind: str, name: str, where: str = "") -> int:
        """The key of an id.

        Args:
            kind: one of `ID_KINDS`.
            name: the id.
            where: the source of an eid, in any case, or the exchange of a `user.id`; of no
                interest otherwise.
        """
        name = name.strip()
        if kind == "ifa":
            name = name.casefold()
        if kind == "eids":
            where = where.strip().casefold()
        elif kind != "id":
            where = ""
        return _key("\x1f".join((kind, where, name)), self._secret)

    def _names(self, request: BidRequest, exchange: str) -> Iterator[tuple[str, str, str]]:
        user, device = request.user, request.device
        for each in self._order:
            if each == "ifa":
                if device is not None and device.ifa is not None:
                    yield "ifa", "", device.ifa
            elif user is None:
                continue
            elif each == "buyeruid":
                if user.buyeruid is not None:
                    yield "buyeruid", "", user.buyeruid
            elif each == "id":
                if user.id is not None:
                    yield "id", exchange, user.id
            else:
                eids = [*(user.eids or ()), *((user.ext and user.ext.eids) or ())]
                yield from _of_sources(eids, each[5:].casefold())


def _of_sources(eids: list[Eid], source: str) -> Iterator[tuple[str, str, str]]:
    found = [((eid.source or "").strip().casefold(), eid.uids or ()) for eid in eids]
    for name, uids in sorted(found, key=lambda each: each[0]):
        if name and source in ("", name):
            yield from (("eids", name, uid.id) for uid in uids if uid.id is not None)


def is_id(text: str) -> bool:
    r"""Whether a text names one user, and not all whose id is withheld.

    >>> [is_id(text) for text in ("b879a967", " ", "NULL", "00000000-0000", "${UID}", "a\0b")]
    [True, False, False, False, False, False]
    """
    text = text.strip()
    if not text or len(text) > _MOST_LETTERS or text.casefold() in _NOBODY:
        return False
    letters = _SEPARATORS.sub("", text)
    if not letters or _NOT_PRINTABLE.search(text) or _MACRO.match(text):
        return False
    same = letters.casefold().count(letters[0].casefold()) == len(letters)
    return not (same and (letters[0] == "0" or len(letters) >= 8))


def user_key(name: str, secret: str | None) -> int:
    """What stands for a user id, 64 bits: a keyed hash, from which no one gets the id back.

    Two of a million users share a key with a chance of 3e-8.

    Args:
        name: the id.
        secret: the key, any length; None: everybody who guesses an id can check the guess.
    """
    return _key(name, _hashed(secret))


def _hashed(secret: str | None) -> bytes:
    return b"" if secret is None else hashlib.blake2b(secret.encode()).digest()


def _key(name: str, key: bytes) -> int:
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
