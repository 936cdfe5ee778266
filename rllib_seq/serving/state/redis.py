"""State in Redis, for a fleet of servers.

- `RedisStorage`: see `storage.Storage`.

Every operation that must not be torn is one Lua script, which Redis runs alone: what the budget
allows is decided there, for all servers. How much survives the end of Redis itself is a matter of
its own settings (`appendonly yes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis

from rllib_seq.errors import UserError
from rllib_seq.serving.state.storage import TOTALS, Change, Conflict, Hold

__all__ = ["RedisStorage"]

_TIMEOUT_SECONDS = 1.0
_PREFIX = "rllib-seq:"
_NAMES = tuple(_PREFIX + name for name in ("totals", "holds", "holds-until"))

_QUOTED_TOTALS = ", ".join(f"'{name}'" for name in TOTALS)

_FREE = """
local function free(bid)
  local amount = redis.call('HGET', KEYS[2], bid)
  if not amount then return end
  redis.call('HDEL', KEYS[2], bid)
  redis.call('ZREM', KEYS[3], bid)
  redis.call('HINCRBYFLOAT', KEYS[1], 'held', '-' .. amount)
  -- Nothing is held exactly, whatever rounding has added up to.
  if redis.call('HLEN', KEYS[2]) == 0 then redis.call('HDEL', KEYS[1], 'held') end
end
"""

# KEYS: totals, holds, holds-until. ARGV: budget, now, and for each bid its id, amount and end.
_HOLD = (
    _FREE
    + """
for _, bid in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[2])) do free(bid) end
local spend = tonumber(redis.call('HGET', KEYS[1], 'spend') or '0')
local left = tonumber(ARGV[1]) - spend - tonumber(redis.call('HGET', KEYS[1], 'held') or '0')
local made = {}
for i = 3, #ARGV, 3 do
  local amount = tonumber(ARGV[i + 1])
  if amount <= left then
    left = left - amount
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    redis.call('ZADD', KEYS[3], ARGV[i + 2], ARGV[i])
    redis.call('HINCRBYFLOAT', KEYS[1], 'held', ARGV[i + 1])
    made[#made + 1] = 1
  else
    made[#made + 1] = 0
  end
end
return made
"""
)

# KEYS: totals, holds, holds-until, notice (or ''), and the sessions. ARGV: seconds that a session
# is kept, when the notice ends, bid to release (or ''), number of sessions, for each its version
# (eight bytes) and state, and pairs of a total and an amount. Returns 'stale' and the places of the
# sessions that have another version, or 'known', or 'written' and the totals after it.
_WRITE = (
    _FREE
    + """
local sessions, stale = tonumber(ARGV[4]), {}
for i = 1, sessions do
  local version = redis.call('GETRANGE', KEYS[4 + i], 0, 7)
  if version ~= '' and version ~= ARGV[3 + 2 * i] then stale[#stale + 1] = i end
end
if #stale > 0 then return {'stale', unpack(stale)} end
if KEYS[4] ~= '' then
  if not redis.call('SET', KEYS[4], '1', 'NX', 'EXAT', ARGV[2]) then return {'known'} end
end
if ARGV[3] ~= '' then free(ARGV[3]) end
for i = 1, sessions do redis.call('SET', KEYS[4 + i], ARGV[4 + 2 * i], 'EX', ARGV[1]) end
for i = 5 + 2 * sessions, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 1])
end
"""
    + f"return {{'written', unpack(redis.call('HMGET', KEYS[1], {_QUOTED_TOTALS}))}}"
)


class RedisStorage:
    """A Redis that several servers share.

    Args:
        url: `redis://HOST:PORT/DB`.
        ttl_seconds: how long a user is remembered after his last change.

    Raises:
        UserError: it does not answer.
    """

    shared = True
    errors: tuple[type[Exception], ...] = (redis.RedisError,)

    def __init__(self, url: str, ttl_seconds: float) -> None:
        try:
            self._redis: Any = redis.Redis.from_url(
                url,
                socket_timeout=_TIMEOUT_SECONDS,
                socket_connect_timeout=_TIMEOUT_SECONDS,
            )
            self._redis.ping()
        except (redis.RedisError, ValueError) as error:
            raise UserError(f"no Redis answers at {_without_password(url)!r}: {error}") from error
        self._ttl = int(min(max(ttl_seconds, 1.0), 10 * 365 * 86400.0))
        self._hold = self._redis.register_script(_HOLD)
        self._write = self._redis.register_script(_WRITE)

    def constant(self, name: str, value: bytes) -> bytes:
        """See `Storage`; likewise the following."""
        self._redis.set(f"{_PREFIX}constant:{name}", value, nx=True)
        return bytes(self._redis.get(f"{_PREFIX}constant:{name}"))

    def load(self, keys: Sequence[int]) -> list[bytes | None]:
        """Users."""
        return list(self._redis.mget([_session(key) for key in keys])) if keys else []

    def load_campaign(self) -> bytes | None:
        """Every server has signals of its own."""
        return None

    def totals(self) -> dict[str, float]:
        """Of all servers."""
        return _totals(self._redis.hmget(_NAMES[0], TOTALS))

    def held(self, now: float) -> float:
        """Of all servers."""
        self._hold(keys=_NAMES, args=[0, now])
        return float(self._redis.hget(_NAMES[0], "held") or 0)

    def hold(self, holds: Sequence[Hold], budget: float, now: float) -> list[bool]:
        """One after the other, and alone."""
        args = [part for hold in holds for part in (hold.bid, repr(hold.amount), hold.until)]
        return [bool(made) for made in self._hold(keys=_NAMES, args=[repr(budget), now, *args])]

    def known(self, notice: str) -> bool:
        """Whether it was written."""
        return bool(self._redis.exists(f"{_PREFIX}notice:{notice}"))

    def write(self, change: Change) -> dict[str, float] | None:
        """One script."""
        notice, until = "", 0.0
        if change.notice is not None:
            notice, until = f"{_PREFIX}notice:{change.notice[0]}", change.notice[1]
        users = list(change.sessions)
        args: list[Any] = [self._ttl, int(until), "" if change.release is None else change.release]
        args.append(len(users))
        for version, state in change.sessions.values():
            args += [version.to_bytes(8, "little"), state]
        for name, amount in change.totals.items():
            args += [name, repr(float(amount))]
        what, *more = self._write(keys=[*_NAMES, notice, *map(_session, users)], args=args)
        if what == b"stale":
            raise Conflict([users[place - 1] for place in more])
        return None if what == b"known" else _totals(more)

    def prune(self, now: float, seen_before: float) -> None:
        """Redis forgets by itself."""

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()


def _totals(values: Sequence[bytes | None]) -> dict[str, float]:
    return {name: float(value or 0) for name, value in zip(TOTALS, values, strict=True)}


def _session(key: int) -> str:
    return f"{_PREFIX}session:{key}"


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
