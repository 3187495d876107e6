"""A log in Redis as everyone who uses it knows it: its keys, the commands on them, what a server must be."""

from __future__ import annotations

import hashlib
import logging
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

from redis.exceptions import ResponseError

from ...errors import BrokerUnavailable
from ...histories import Histories
from ...protocol.channels import home
from ...protocol.publications import Draft, identifies
from ...protocol.remembered import Remembered
from .. import KEY_SECONDS
from .lines import Command
from .replies import config, info

# The package's name is what logs have been searched by.
logger = logging.getLogger(__package__)

#: What the keys of the default realm begin with.
PREFIX = "hub"

#: Entries a shard's log keeps, approximately: at 5,000 publications a second over 16 shards, 160 seconds
#: for a reader to come back; 350 bytes each make 18 MB a shard.
LOG_LENGTH = 50_000

#: Bytes a shard's log keeps, approximately, when payloads are large.
LOG_BYTES = 32 * 1024 * 1024

#: Drafts in one Lua call: Redis serves nobody else meanwhile, 200 are about 2 ms.
SCRIPT_DRAFTS = 200

#: Seconds for which a channel is remembered after its last publication. Its epoch ends with it, which costs
#: subscribers a refetch at its next publication, so: longer than the pause of a night. About 200 bytes each.
META_SECONDS = 24 * 3600

#: Seconds for which a channel is remembered that somebody asked for and nobody published to, where Redis evicts keys.
#: There a channel may be forgotten at any time, so its epoch is drawn by lot.
#:
#: Elsewhere asking writes nothing: the epoch of such a channel is derived from the log's epoch, its name and the number
#: of a window of 11 hours (`derived.lua`), and its first publication takes the same. Two lives never share one: the
#: first is remembered for META_SECONDS after its last publication, which is longer than two windows. For the same
#: reason, who asked in the window before that of the first publication was there before any.
ASKED_SECONDS = 600

#: Makes a worker the owner of a session, unless another is: its owner, its fence, and its record if it was made so.
_CLAIM = (
    "local w, f, r = unpack(redis.call('HMGET', KEYS[1], 'w', 'f', 'r')) if not r then return false end "
    "if w ~= '' and w ~= ARGV[1] and f ~= ARGV[3] then return {w, tonumber(f), ''} end "
    "f = redis.call('HINCRBY', KEYS[1], 'f', 1) redis.call('HSET', KEYS[1], 'w', ARGV[1]) "
    "redis.call('PEXPIRE', KEYS[1], ARGV[2]) return {ARGV[1], f, r}"
)
#: Keeps a session's record for the owner with this fence.
_SAVE = (
    "local w, f = unpack(redis.call('HMGET', KEYS[1], 'w', 'f')) "
    "if w and (w ~= ARGV[1] or f ~= ARGV[2]) then return 0 end "
    "redis.call('HSET', KEYS[1], 'w', ARGV[5], 'f', ARGV[2], 'r', ARGV[3]) "
    "redis.call('PEXPIRE', KEYS[1], ARGV[4]) return 1"
)
#: Writes a canary, forgets the mail that was read, and renews the lease; whether it had lasted till now.
_SING = (
    "local lasted = redis.call('EXISTS', KEYS[1]) redis.call('XADD', KEYS[1], '*', 'c', '') "
    "redis.call('XTRIM', KEYS[1], 'MINID', ARGV[1]) redis.call('PEXPIRE', KEYS[1], ARGV[2]) return lasted"
)
#: Puts mail into the inbox of a worker that is alive, up to so many of them.
_MAIL = (
    "local n = redis.call('XLEN', KEYS[1]) if n == 0 then return 0 end if n > tonumber(ARGV[2]) then return -1 end "
    "redis.call('XADD', KEYS[1], '*', 'm', ARGV[1]) return 1"
)

#: Whether a key, or no id at all, is known.
_MAY_FOLLOW = (
    "if redis.call('EXISTS', KEYS[1]) == 1 then return 1 end "
    "local used = tonumber(redis.call('HGET', KEYS[2], 'k')) "
    "if used and tonumber(redis.call('TIME')[1]) - used <= tonumber(ARGV[1]) then return 0 end return 1"
)

#: Seconds by which the note of a channel's last id may be older than the id: writing it costs as much as a look-up.
KEY_SLACK = 30

#: Messages of other workers that a worker may have unread: a second's work of one that is slow.
INBOX_LENGTH = 20_000

_HERE = Path(__file__).parent

#: What scripts share, in the place of a line `--DERIVED`.
_DERIVED = (_HERE / "derived.lua").read_bytes()

#: What a reader knows of a shard: the epoch, the id and the number of the last entry it read. Empty: nothing yet.
Read = tuple[bytes, bytes, int]


def realm_prefix(realm: str, prefix: str = PREFIX) -> str:
    """What the keys of a realm begin with that is not the default one; its name has no colon."""
    return f"{prefix}:{realm}"


class _Script:
    """A Lua script and the name Redis knows it by."""

    def __init__(self, name: str) -> None:
        self.text = (_HERE / name).read_bytes().replace(b"--DERIVED\n", _DERIVED)
        # Redis itself names scripts by their SHA-1; nothing is protected by it.
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def call(self, keys: Sequence[str], arguments: Iterable[Any]) -> Command:
        return ("EVALSHA", self.sha, len(keys), *keys, *arguments)


class Log:
    """A realm's log: makes the commands on it and reads what a server says of itself. Sends nothing, and never waits.

    address: where its Redis is, for people. shards, histories, prefix and realm are RedisBroker's.
    """

    def __init__(
        self,
        address: str,
        *,
        shards: int = 16,
        histories: Histories | None = None,
        prefix: str = PREFIX,
        realm: str = "",
    ) -> None:
        self.address = address
        self._shards = shards
        self._histories = histories or Histories()
        self._prefix = prefix
        self._realm = realm
        self._publish_script = _Script("publish.lua")
        self._history_script = _Script("history.lua")
        self._settle_script = _Script("settle.lua")
        #: Which shard a channel is of. Names repeat, and this is asked of every draft.
        self.shard = Remembered[str, int](self._find_shard).__getitem__
        #: What the keys of each shard begin with.
        self.tags = [f"{{{prefix}:{shard}}}:" for shard in range(shards)]
        self._warned = False
        # Whether epochs are derived (ASKED_SECONDS), 1 or 0 as the scripts have it.
        self._derives = 0

    def _find_shard(self, channel: str) -> int:
        return crc32(home(channel).encode()) % self._shards

    def publish_call(self, shard: int, drafts: Sequence[Draft]) -> Command:
        """Accepts drafts of one shard, SCRIPT_DRAFTS at most, in order; `accepted` takes the reply."""
        tag = self.tags[shard]
        numbers: dict[str, int] = {}
        own: list[str] = []
        arguments: list[Any] = []
        for channel, data, key, hint, ext in drafts:
            number = numbers.get(channel)
            if number is None:
                number = numbers[channel] = len(numbers) + 1
            form = 1 if hint else 0
            if ext:
                form += 2
            if key is not None:
                form += 12 if identifies(channel, key) else 4
                own.append(f"{tag}i:{key}")
            arguments += (number, form, data, ext) if ext else (number, form, data)
        keys = [tag + "log", tag + "ep"]
        bounds: list[Any] = []
        longest = 0.0
        for channel in numbers:
            keep = self._histories.of(channel)
            longest = max(longest, keep.seconds)
            keys += (f"{tag}m:{channel}", f"{tag}h:{channel}")
            bounds += (channel, keep.count, keep.seconds, keep.bytes)
        # A position must outlive what it points at, so that "lost" is certain.
        remembered = max(META_SECONDS, round(longest * 2))
        head = (
            len(drafts),
            len(numbers),
            _epoch(),
            LOG_LENGTH,
            LOG_BYTES,
            remembered,
            round(KEY_SECONDS),
            self._derives,
        )
        return self._publish_script.call(keys + own, (*head, *bounds, *arguments))

    def look(self, channel: str, what: str, epoch: str, offset: int) -> Command:
        """What `history.lua` is asked: "top", "all", or what came "since" epoch and offset.

        The reply: the channel's epoch, its newest offset, whether all came (1 or 0), the entries.
        """
        tag = self.tags[self.shard(channel)]
        return self._history_script.call(
            [tag + "ep", f"{tag}m:{channel}", f"{tag}h:{channel}"],
            (_epoch(), ASKED_SECONDS, what, epoch, offset, self._derives),
        )

    def may_follow(self, channel: str, key: str) -> Command:
        """The question of RedisBroker.may_follow; the reply is 1 or 0."""
        tag = self.tags[self.shard(channel)]
        seconds = round(KEY_SECONDS) + KEY_SLACK
        return ("EVAL", _MAY_FOLLOW, 2, f"{tag}i:{key}", f"{tag}m:{channel}", seconds)

    def inbox(self, worker: str) -> str:
        """The stream that a worker reads beside the log: its canaries, and what other workers send to it."""
        return f"{self.tags[0]}canary:{worker}"

    def claim_session(self, session_id: str, worker: str, seconds: float, against: int) -> Command:
        """What RedisBroker.claim_session does; the reply is None, or owner, fence and record."""
        milliseconds = max(1, round(seconds * 1000))
        return ("EVAL", _CLAIM, 1, self._session(session_id), worker, milliseconds, against)

    def save_session(
        self, session_id: str, worker: str, fence: int, record: bytes, seconds: float, *, release: bool
    ) -> Command:
        """What RedisBroker.save_session does; the reply is 1 or 0."""
        milliseconds = max(1, round(seconds * 1000))
        owner = "" if release else worker
        return ("EVAL", _SAVE, 1, self._session(session_id), worker, fence, record, milliseconds, owner)

    def _session(self, session_id: str) -> str:
        return f"{self._prefix}:c:{session_id}"

    def sing(self, worker: str, read: bytes, seconds: float) -> Command:
        """Writes a worker's canary and renews its lease for `seconds`. read: the id up to which the inbox was read."""
        return ("EVAL", _SING, 1, self.inbox(worker), read, round(seconds * 1000))

    def mail(self, worker: str, message: bytes) -> Command:
        """Sends mail; the reply is 1, 0 if the worker has no inbox, -1 if it is full."""
        return ("EVAL", _MAIL, 1, self.inbox(worker), message, INBOX_LENGTH)

    def greeting(self) -> list[Command]:
        """What a new connection asks and brings first; `greeted` takes the replies."""
        return [
            ("INFO", "server"),
            ("INFO", "replication"),
            ("CONFIG", "GET", "append*"),
            ("INFO", "memory"),
            ("SCRIPT", "LOAD", self._publish_script.text),
            ("SCRIPT", "LOAD", self._history_script.text),
            ("SCRIPT", "LOAD", self._settle_script.text),
        ]

    def greeted(self, replies: list[Any]) -> tuple[str, str, bool]:
        """What `settle.lua` is told of the server. Raises what makes it unfit; says once what weakens the promise."""
        for reply in replies[4:]:
            if isinstance(reply, Exception):
                raise reply
        server, replication = info(replies[0]), info(replies[1])
        self._check(server, replication)
        configured, memory = config(replies[2]), info(replies[3])
        policy = memory.get("maxmemory_policy", "")
        self._derives = 1 if policy == "noeviction" else 0
        self._warn("run_id" in server, policy)
        durable = configured.get("appendonly") == "yes" and configured.get("appendfsync") == "always"
        return server.get("run_id", ""), replication.get("master_replid2", ""), durable

    def layout_call(self) -> Command:
        """Leaves word for those who publish without being a hub, and have not its settings."""
        values = ("shards", self._shards, "histories", self._histories.encode(), "realm", self._realm)
        return ("HSET", self.tags[0] + "layout", *values)

    def settle_calls(self, run_id: str, replaced: str, durable: bool, read: Sequence[Read] = ()) -> list[Command]:
        """One for each shard; `settled` takes the replies. The first three are what `greeted` returned.

        read: what a reader knows of each shard; nothing if nobody reads.
        """
        calls = []
        for shard, tag in enumerate(self.tags):
            known = read[shard] if read else (b"", b"", 0)
            arguments = (_epoch(), run_id, replaced, b"1" if durable else b"0", *known)
            calls.append(self._settle_script.call([tag + "log", tag + "ep"], arguments))
        return calls

    def _check(self, server: dict[str, str], replication: dict[str, str]) -> None:
        """Raise BrokerUnavailable for a server that can't carry the log."""
        version = server.get("redis_version", "")
        if version and "valkey_version" not in server and int(version.split(".")[0]) < 7:
            raise BrokerUnavailable(f"Redis at {self.address}: is version {version}; 7 or later is needed, or Valkey")
        # Valkey has another word for it.
        if "cluster" in (server.get("redis_mode"), server.get("server_mode")):
            raise BrokerUnavailable(
                f"Redis at {self.address}: is a cluster; one primary is needed, with Sentinel or without"
            )
        if replication.get("role") == "slave":
            raise BrokerUnavailable(f"Redis at {self.address}: is a replica")

    def _warn(self, knows_server: bool, policy: str) -> None:
        """Say once what weakens the promise."""
        if self._warned:
            return
        self._warned = True
        if not knows_server:
            logger.warning("redis forbids INFO, so not every failover can be noticed")
        # volatile-* may evict histories and sessions, which is said as "lost"; allkeys-* the log itself.
        if policy.startswith("allkeys"):
            logger.warning("redis may evict the log; use maxmemory-policy noeviction", extra={"policy": policy})

    def unavailable(self, error: BaseException) -> BrokerUnavailable:
        """What a caller is told of an error: where Redis is, and what is wrong."""
        if isinstance(error, BrokerUnavailable):
            return error
        reason = str(error) or "does not answer"
        if "connection refused" in reason.lower():
            # redis-py says "Error 111 connecting to" and the address once more.
            reason = "connection refused; nothing listens there: start it, or say another in REDIS_URL"
        if isinstance(error, ResponseError):
            reason = f"refused: {reason}"
        return BrokerUnavailable(f"Redis at {self.address}: {reason}")


def _epoch() -> str:
    """A new epoch: 40 random bits are unlike any other of the same channel."""
    return secrets.token_hex(5)
