"""Settings of the Redis laboratory."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import COUNT, choice, host_setting, is_loopback, redis_url_setting, setting, site_url_setting


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisLabSettings:
    """Who may measure, and how much is kept of it."""

    redis_url: str | None = redis_url_setting()
    host: str = host_setting()
    url: str | None = site_url_setting()

    open: str = setting(
        "SITE_LAB_REDIS",
        choice("auto", "true", "false"),
        "auto",
        "let everybody measure at /lab/redis/random and /lab/redis/NAME: work for Redis and a core; auto: on a loopback"
        " HOST without SITE_URL, so not in production",
    )
    rate: int = setting(
        "SITE_LAB_REDIS_RATE",
        COUNT,
        5000,
        "measurements a second for which a worker is asked, over all who ask; more are answered 429. 0 for no limit",
        minimum=0,
    )
    waiting: int = setting(
        "SITE_LAB_REDIS_WAITING",
        COUNT,
        200,
        "measurements that may wait in a worker for those before them; more are answered 503",
        minimum=1,
        maximum=100_000,
    )
    warm_up: int = setting(
        "SITE_LAB_REDIS_WARM_UP",
        COUNT,
        10,
        "the first measurements of each configuration, which are left out of its figures",
        minimum=0,
        maximum=10_000,
    )
    kept: int = setting(
        "SITE_LAB_REDIS_KEPT",
        COUNT,
        1000,
        "the newest measurements of each configuration and payload, of which its figures are; all are counted",
        minimum=20,
        maximum=100_000,
    )

    @property
    def is_open(self) -> bool:
        """Whether everybody may measure."""
        if self.open == "auto":
            # Behind a proxy HOST is this machine's in production too, but such a site has an address of its own.
            return is_loopback(self.host) and self.url is None
        return self.open == "true"
