"""The log in Redis: shard streams that every node reads. The only modules that know redis.

broker    RedisBroker: publishing, questions, reading; how keys are laid out, and what is done about doubt
caller    RedisCaller: publishing with blocking calls
log       the keys and the commands on them, which both make; publish.lua, history.lua, settle.lua
requests  who waits for Redis
lines     one connection, and pipelines on it
servers   where Redis is: URLs and sentinels
replies   what Redis and the scripts say
probe     whether a Redis can carry the log, for `fanfare check`
"""

from .broker import RedisBroker
from .caller import RedisCaller
from .log import PREFIX, realm_prefix

__all__ = ["PREFIX", "RedisBroker", "RedisCaller", "realm_prefix"]
