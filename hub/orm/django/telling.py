"""Who tells what this site's processes commit: one thread a process and database, started by its first commit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection, Sequence
from functools import partial
from threading import Lock

from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connections, router, transaction
from django.db.models import Exists, F, OuterRef, Q

from ...errors import BrokerUnavailable, SettingsError
from ...publisher import SyncPublisher
from ..declarations import Notice
from ..listening import PsycopgListening, can_listen
from ..rows import BATCH, Outcome, Row, values_of
from ..teller import ThreadTeller
from . import settings
from .models import Lease, Outbox

logger = logging.getLogger(__name__)

_SWEEPER = "sweeper"
_COLUMNS = ("id", "channel", "data", "hint", "subject", "created", "tries")

#: Seconds a page waits for a position, and seconds without asking after a hub that gave none.
POSITION_TIMEOUT, POSITION_PAUSE = 0.5, 5.0

#: Seconds before a database without an outbox is asked again whether it has one.
OUTBOX_PAUSE = 60.0


class DjangoStore:
    """The outbox behind a database of Django's, as a `ThreadTeller` wants it."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._rows = Outbox.objects.using(using)
        self._inherited: list[object] = []

    def take(self, ids: Collection[int], subjects: Collection[str]) -> list[Row]:
        wanted = Q(pk__in=ids) | Q(subject__in=subjects) if subjects else Q(pk__in=ids)
        return _read(self._rows.filter(wanted, due__isnull=False).order_by("pk"))

    def due(self, now: float) -> list[Row]:
        older = self._rows.filter(
            subject=OuterRef("subject"), channel=OuterRef("channel"), pk__lt=OuterRef("pk"), due__gt=now
        )
        return _read(self._rows.filter(~Exists(older), due__lte=now).order_by("pk")[:BATCH])

    def settle(self, outcome: Outcome) -> None:
        with transaction.atomic(using=self._using):
            if outcome.told:
                self._rows.filter(pk__in=outcome.told).delete()
            for failure in outcome.failed:
                self._rows.filter(pk=failure.row.id).update(
                    tries=F("tries") + 1, last_error=failure.error, due=failure.due
                )

    def hold_lease(self, owner: str, now: float, seconds: float) -> bool:
        leases = Lease.objects.using(self._using).filter(name=_SWEEPER)
        if leases.filter(Q(owner=owner) | Q(until__lt=now)).update(owner=owner, until=now + seconds):
            return True
        if leases.exists():
            return False
        try:
            Lease.objects.using(self._using).create(name=_SWEEPER, owner=owner, until=now + seconds)
        except IntegrityError:
            # Another process made the row at this very moment.
            return False
        return True

    def drop_lease(self, owner: str) -> None:
        Lease.objects.using(self._using).filter(name=_SWEEPER, owner=owner).delete()

    def listen(self) -> PsycopgListening | None:
        ours = connections[self._using]
        if ours.vendor != "postgresql" or not can_listen(ours.Database.__version__) or not settings.read().listen:
            return None
        wrapper = ours.copy()
        wrapper.ensure_connection()
        driver = wrapper.connection
        try:
            wrapper.set_autocommit(True)
            return PsycopgListening(driver)
        except BaseException:
            driver.close()
            raise

    def release(self) -> None:
        """Let go of this thread's connection when it has nothing to do, as CONN_MAX_AGE says."""
        connections[self._using].close_if_unusable_or_obsolete()

    def forked(self) -> None:
        # Dropped and not closed: closing would say goodbye for the parent. Kept, for an object that goes closes.
        self._inherited.append(connections[self._using].connection)
        connections[self._using].connection = None


class Telling:
    """This process's publisher and tellers, made when they are first needed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._publisher: SyncPublisher | None = None
        self._asker: SyncPublisher | None = None
        self._tellers: dict[str, ThreadTeller] = {}
        self._warned = False
        self._no_position_until = 0.0
        #: Until when a database's answer holds, whether it has an outbox; for ever, if it has.
        self._outboxes: dict[str, float] = {}

    def write(self, found: Sequence[Notice], using: str) -> None:
        """Write notices into the outbox, in the transaction of this thread; tell them after its commit."""
        unique = list(dict.fromkeys(found))
        if not unique or self.teller(using) is None:
            return
        if not self._has_outbox(using):
            # The save must stand. Told without the outbox's promise: a kill between the commit and this loses it.
            transaction.on_commit(partial(self._write_elsewhere, unique, using), using=using)
            return
        # Outside of a transaction the row and its telling still belong together.
        with transaction.atomic(using=using, savepoint=False):
            rows = Outbox.objects.using(using).bulk_create(
                [Outbox(**values) for values in values_of(unique, time.time())]
            )
            written = [(row.pk, row.subject) for row in rows]
            transaction.on_commit(partial(self._committed, written, using), using=using)

    def listens(self, using: str) -> bool:
        """Whether what is written for a database is told: else nothing need be asked of it."""
        return self.teller(using) is not None

    def _has_outbox(self, using: str) -> bool:
        """Whether a database has the outbox's table. Asked once, and now and then while it has not."""
        until = self._outboxes.get(using)
        if until is None or until < time.monotonic():
            connection = connections[using]
            with connection.cursor() as cursor:
                there = Outbox._meta.db_table in connection.introspection.table_names(cursor)
            until = self._outboxes[using] = math.inf if there else time.monotonic() + OUTBOX_PAUSE
        return until == math.inf

    def _write_elsewhere(self, found: Sequence[Notice], using: str) -> None:
        home = router.db_for_write(Outbox)
        try:
            if home == using or not self._has_outbox(home):
                logger.error(
                    "database has no outbox, changes are not told: migrate the app fanfare", extra={"db": using}
                )
                return
            self.write(found, home)
        # The change is committed: nothing here may look as if it were not.
        except Exception:
            logger.exception("changes of another database are not told", extra={"db": using})

    def teller(self, using: str) -> ThreadTeller | None:
        """The teller of a database; None when FANOUT_KEY is not set."""
        found = self._tellers.get(using)
        if found is None and (publisher := self.publisher()) is not None:
            with self._lock:
                found = self._tellers.get(using)
                if found is None:
                    found = self._tellers[using] = ThreadTeller(DjangoStore(using), publisher.publish_many)
        return found

    def publisher(self) -> SyncPublisher | None:
        """The way to the hub; None, and one warning, when neither FANOUT_KEY nor FANOUT_REDIS_URL is set."""
        if self._publisher is None:
            self._publisher = self._new_publisher()
        return self._publisher

    def position(self, channel: str) -> str | None:
        """The newest position of a channel, or None: within half a second, whatever the hub does."""
        if time.monotonic() < self._no_position_until:
            return None
        if self._asker is None:
            self._asker = self._new_publisher(timeout=POSITION_TIMEOUT)
        found = None if self._asker is None else self._asker.position(channel)
        if found is None:
            # Pages must not wait one after another for a hub that is away.
            self._no_position_until = time.monotonic() + POSITION_PAUSE
        return found

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until all that this process committed is told; False if that did not come about in time."""
        return all(teller.flush(timeout) for teller in list(self._tellers.values()))

    def close(self) -> None:
        """Stop, and forget the settings that were read: what is not told waits in the outbox."""
        for teller in self._tellers.values():
            teller.close()
        for publisher in (self._publisher, self._asker):
            if publisher is not None:
                publisher.close()
        self.__init__()  # type: ignore[misc]  # as new, for the one object that everybody has

    def _committed(self, written: Sequence[tuple[int, str | None]], using: str) -> None:
        teller = self.teller(using)
        if teller is not None:
            teller.tell(written)

    def _new_publisher(self, timeout: float = 5.0) -> SyncPublisher | None:
        found = settings.read()
        if found.redis_url:
            try:
                return SyncPublisher(found.redis_url, found.realm, timeout=timeout)
            except SettingsError as error:
                raise ImproperlyConfigured(f"FANOUT_REDIS_URL: {error}") from None
        if found.key is None:
            if not self._warned:
                self._warned = True
                logger.warning("FANOUT_KEY is not set, changes are not told")
            return None
        return SyncPublisher(found.url, found.realm or "fanfare", found.key, timeout=timeout)


#: The process's own. Django's settings and connections are the process's too.
telling = Telling()


def publish(channel: str, data: object, *, id: str | None = None) -> None:
    """Publish now, not with a transaction. Raises as SyncPublisher does, BrokerUnavailable without FANOUT_KEY."""
    publisher = telling.publisher()
    if publisher is None:
        raise BrokerUnavailable("FANOUT_KEY is not set")
    publisher.publish(channel, data, id=id)


def _read(rows: object) -> list[Row]:
    return [Row(**values) for values in rows.values(*_COLUMNS)]  # type: ignore[attr-defined]  # Django has no types
