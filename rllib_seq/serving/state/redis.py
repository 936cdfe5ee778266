"""State in Redis, for a fleet of servers.

- `RedisStorage`: see `storage.Storage`.

Every operation that must not be torn is one Lua script, which Redis runs alone: what the budget
allows is decided there, for all servers. How much survives the end of Redis itself is a matter of
its own settings (`appendonly yes`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from rllib_seq.errors import UserError
from rllib_seq.serving.credentials import has_password, read_secret, without_password
from rllib_seq.serving.state.storage import TOTALS, Adjustment, Change, Conflict, Hold, Notice

_TIMEOUT_SECONDS = 0.5
_PAUSE_SECONDS = 0.5
_PASSWORD = "RLLIB_SEQ_REDIS_PASSWORD"
_PREFIX = "rllib-seq:"
_ADJUSTMENTS = _PREFIX + "adjustments"
_FORGOTTEN = b"\xff" * 8
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

# KEYS: totals, holds, holds-until. ARGV: budget, and for each bid its id, amount and seconds. Holds
# end by the clock of Redis: of servers whose clocks differ, none frees what another holds.
_HOLD = (
    _FREE
    + """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
for _, bid in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now)) do free(bid) end
local spend = tonumber(redis.call('HGET', KEYS[1], 'spend') or '0')
local left = tonumber(ARGV[1]) - spend - tonumber(redis.call('HGET', KEYS[1], 'held') or '0')
local made = {}
for i = 2, #ARGV, 3 do
  local amount = tonumber(ARGV[i + 1])
  if amount <= left then
    left = left - amount
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
    redis.call('ZADD', KEYS[3], now + tonumber(ARGV[i + 2]), ARGV[i])
    redis.call('HINCRBYFLOAT', KEYS[1], 'held', ARGV[i + 1])
    made[#made + 1] = 1
  else
    made[#made + 1] = 0
  end
end
return made
"""
)

# KEYS: totals, holds, holds-until, the notices of a bid or user (or ''), and the sessions. ARGV:
# seconds that a session is kept, seconds that a notice is, bid to release (or ''), name and content
# of the notice, number of sessions, for each its version (eight bytes) and state, and pairs of a
# total and an amount. Returns 'stale' and the places of the sessions that have another version, or
# 'known', or 'written' and the totals after it.
_WRITE = (
    _FREE
    + """
local sessions, stale = tonumber(ARGV[6]), {}
local FORGOTTEN, NEW = string.rep('\\255', 8), string.rep('\\0', 8)
for i = 1, sessions do
  local version = redis.call('GETRANGE', KEYS[4 + i], 0, 7)
  if version == FORGOTTEN then version = NEW end
  if version ~= '' and version ~= ARGV[5 + 2 * i] then stale[#stale + 1] = i end
end
if #stale > 0 then return {'stale', unpack(stale)} end
if KEYS[4] ~= '' then
  if redis.call('HSETNX', KEYS[4], ARGV[4], ARGV[5]) == 0 then return {'known'} end
  if redis.call('TTL', KEYS[4]) < tonumber(ARGV[2]) then
    redis.call('EXPIRE', KEYS[4], ARGV[2])
  end
end
if ARGV[3] ~= '' then free(ARGV[3]) end
for i = 1, sessions do redis.call('SET', KEYS[4 + i], ARGV[6 + 2 * i], 'EX', ARGV[1]) end
for i = 7 + 2 * sessions, #ARGV, 2 do
  redis.call('HINCRBYFLOAT', KEYS[1], ARGV[i], ARGV[i + 1])
end
"""
    + f"return {{'written', unpack(redis.call('HMGET', KEYS[1], {_QUOTED_TOTALS}))}}"
)

# KEYS: totals, adjustments. ARGV: the total, the amount, the adjustment.
_ADJUST = """
redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('HINCRBYFLOAT', KEYS[1], ARGV[1], ARGV[2])
"""


class _Client(redis.Redis):
    """Asks once, and after an answer that did not come, does not ask again for a moment.

    A call that is made twice books twice; and while Redis stands still, each call would keep all
    others waiting for as long as it waits itself.
    """

    _again = 0.0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if time.monotonic() < self._again:
            raise redis.ConnectionError("Redis did not answer a moment ago")
        try:
            return super().execute_command(*args, **options)
        except (redis.ConnectionError, redis.TimeoutError):
            self._again = time.monotonic() + _PAUSE_SECONDS
            raise


class RedisStorage:
    """A Redis that several servers share.

    Args:
        url: `redis://HOST:PORT/DB`.
        ttl_seconds: how long a user is remembered after their last change.

    Raises:
        UserError: it does not answer.
    """

    shared = True
    errors: tuple[type[Exception], ...] = (redis.RedisError,)

    def __init__(self, url: str, ttl_seconds: float) -> None:
        login = _login(url)
        try:
            self._redis: Any = _Client.from_url(
                url,
                socket_timeout=_TIMEOUT_SECONDS,
                socket_connect_timeout=_TIMEOUT_SECONDS,
                retry=Retry(NoBackoff(), 0),
                **login,
            )
            self._redis.ping()
        except (redis.RedisError, ValueError) as error:
            raise UserError(f"no Redis answers at {url!r}: {error}") from error
        self._ttl = int(min(max(ttl_seconds, 1.0), 10 * 365 * 86400.0))
        self._hold = self._redis.register_script(_HOLD)
        self._write = self._redis.register_script(_WRITE)

    def constant(self, name: str, value: bytes) -> bytes:
        """See `Storage`; also the following."""
        self._redis.set(f"{_PREFIX}constant:{name}", value, nx=True)
        return bytes(self._redis.get(f"{_PREFIX}constant:{name}"))

    def known_constant(self, name: str) -> bool:
        """Whether a value was set."""
        return bool(self._redis.exists(f"{_PREFIX}constant:{name}"))

    def load(self, keys: Sequence[int]) -> list[bytes | None]:
        """Users."""
        found = self._redis.mget([_session(key) for key in keys]) if keys else []
        return [None if state == _FORGOTTEN else state for state in found]

    def load_campaign(self) -> bytes | None:
        """Every server has signals of its own."""
        return None

    def totals(self) -> dict[str, float]:
        """Of all servers."""
        return _totals(self._redis.hmget(_NAMES[0], TOTALS))

    def held(self, now: float) -> float:
        """Of all servers."""
        self._hold(keys=_NAMES, args=[0])
        return float(self._redis.hget(_NAMES[0], "held") or 0)

    def hold(self, holds: Sequence[Hold], budget: float, now: float) -> list[bool]:
        """One after the other, and alone."""
        args = [part for h in holds for part in (h.bid, repr(h.amount), repr(h.until - now))]
        return [bool(made) for made in self._hold(keys=_NAMES, args=[repr(budget), *args])]

    def known(self, subject: str, name: str) -> bool:
        """Whether it was written."""
        return bool(self._redis.hexists(_notices(subject), name))

    def names_of(self, subject: str) -> list[str]:
        """Of all its notices."""
        return [name.decode() for name in self._redis.hkeys(_notices(subject))]

    def write(self, change: Change) -> dict[str, float] | None:
        """One script."""
        key, kept, name, content = "", 0, "", ""
        if change.notice is not None:
            key, name = _notices(change.notice.subject), change.notice.name
            kept = max(1, int(change.notice.until - change.now))
            content = json.dumps(change.notice[2:])
        users = list(change.sessions)
        release = "" if change.release is None else change.release
        args: list[Any] = [self._ttl, kept, release, name, content, len(users)]
        for version, state in change.sessions.values():
            args += [version.to_bytes(8, "little"), state]
        for total, amount in change.totals.items():
            args += [total, repr(float(amount))]
        what, *more = self._write(keys=[*_NAMES, key, *map(_session, users)], args=args)
        if what == b"stale":
            raise Conflict([users[place - 1] for place in more])
        return None if what == b"known" else _totals(more)

    def forget(self, key: int) -> None:
        """Leaves a mark that a server with the user in memory takes for a change."""
        self._redis.set(_session(key), _FORGOTTEN, ex=self._ttl)
        self._redis.delete(_notices(f"u{key}"))

    def prune(self, now: float, seen_before: float) -> None:
        """Redis forgets by itself."""

    def last_written(self) -> float | None:
        """Not kept: every server has a clock of its own."""
        return None

    def check(self) -> None:
        """One value."""
        self._redis.set(_PREFIX + "checked", "1")

    def log_bytes(self) -> int:
        """Redis has its own."""
        return 0

    def adjust(self, adjustment: Adjustment) -> dict[str, float]:
        """One script."""
        args = [adjustment.total, repr(adjustment.amount), json.dumps(adjustment)]
        self._redis.eval(_ADJUST, 2, _NAMES[0], _ADJUSTMENTS, *args)
        return self.totals()

    def adjustments(self) -> list[Adjustment]:
        """All of them, oldest first."""
        return [Adjustment(*json.loads(row)) for row in self._redis.lrange(_ADJUSTMENTS, 0, -1)]

    def notices(self) -> Iterator[Notice]:
        """As they are found."""
        start = len(_notices(""))
        for key in self._redis.scan_iter(_notices("*")):
            for name, content in self._redis.hgetall(key).items():
                yield Notice(key.decode()[start:], name.decode(), *json.loads(content))

    def close(self) -> None:
        """Closes the connections."""
        self._redis.close()


def _totals(values: Sequence[bytes | None]) -> dict[str, float]:
    return {name: float(value or 0) for name, value in zip(TOTALS, values, strict=True)}


def _notices(subject: str) -> str:
    return f"{_PREFIX}notices:{subject}"


def _login(url: str) -> dict[str, str]:
    """The password, which is in the environment.

    Raises:
        UserError: it is in the URL, where every user of the machine can read it.
    """
    if has_password(url):
        raise UserError(
            f"state {without_password(url)!r} was given with a password, which the list of "
            f"processes shows to others; put it into {_PASSWORD} or {_PASSWORD}_FILE"
        )
    password = read_secret(_PASSWORD)
    return {} if password is None else {"password": password}


def _session(key: int) -> str:
    return f"{_PREFIX}session:{key}"
