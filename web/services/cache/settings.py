"""Settings of the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hub.errors import SettingsError
from hub.settings import FLAG, PATH, SECONDS, SIZE, Kind, redis_url_setting, setting

from .codecs import NoCodec, codec

#: What is used where nothing was measured: the fastest of those that are always installed, by `fanfare lab redis`.
USUAL = "msgpack"

#: In HUB_VAR: what `fanfare lab redis --write-setting` has found.
CODEC_FILE = "cache-codec"


def _parse_codec(text: str) -> str:
    try:
        return codec(text.lower()).name
    except NoCodec as error:
        raise ValueError(f"is no codec: {error}") from None


CODEC = Kind("codec", _parse_codec)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """How the cache keeps what it keeps. Times are seconds."""

    redis_url: str | None = redis_url_setting()
    var: Path = setting("HUB_VAR", PATH, Path("var"), "folder for what is made on the first run")

    codec_given: str | None = setting(
        "SITE_CACHE_CODEC",
        CODEC,
        None,
        "serializer of the cache, or serializer-compressor, such as msgpack-zstd; without it the winner that `fanfare"
        f" lab redis --write-setting` wrote, else {USUAL}",
    )
    far: bool = setting(
        "SITE_CACHE_REDIS", FLAG, True, "keep in Redis too, where REDIS_URL is set, so that one worker makes for all"
    )
    bytes: int = setting("SITE_CACHE_BYTES", SIZE, 16 * 1024**2, "memory of a worker for the cache", minimum=0)
    entry_bytes: int = setting(
        "SITE_CACHE_ENTRY_BYTES", SIZE, 1024**2, "bytes of one value; a longer one is not kept", minimum=0
    )
    age: float = setting(
        "SITE_CACHE_AGE",
        SECONDS,
        60.0,
        "the longest that a value is given again: so old may be what nobody told of",
        minimum=0.1,
        maximum=86400,
    )
    patience: float = setting(
        "SITE_CACHE_PATIENCE",
        SECONDS,
        0.25,
        "what Redis may take for a value before it is made here",
        minimum=0.01,
        maximum=10,
    )

    @property
    def codec(self) -> str:
        """The codec's name. Raises SettingsError for what HUB_VAR/cache-codec should not say."""
        if self.codec_given is not None:
            return self.codec_given
        path = self.var / CODEC_FILE
        try:
            text = path.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return USUAL
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} can't be read: {error}") from None
        try:
            return codec(text).name
        except NoCodec as error:
            raise SettingsError(f"{path}: {error}; remove the file, or set SITE_CACHE_CODEC") from None
