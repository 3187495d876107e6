"""What Django models notice, when it is told, and when it is not; on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock
from unittest.mock import Mock
from urllib.parse import urlsplit

import django_site  # noqa: F401  # first: it sets Django up
import pytest
from brokering import Ear
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection, connections, models, transaction
from django.db.models import F
from django.template import Context, Template
from django.test import TestCase, override_settings
from django.test.utils import CaptureQueriesContext
from newsroom.models import Article, Comment, Draft, Feature, Note, Pin, Post, Room, Tag

from hub.brokers.redis import RedisBroker
from hub.errors import BadMessage, BrokerUnavailable, InvalidChannel
from hub.orm.declarations import tells
from hub.orm.django import cascades, images, settings
from hub.orm.django import telling as telling_module
from hub.orm.django.bulk import MAX_BULK
from hub.orm.django.changes import bulk_create, bulk_update, declare, tell, touch, update
from hub.orm.django.models import Lease, Outbox
from hub.orm.django.telling import DjangoStore, telling
from hub.orm.django.testing import recorded_hints
from hub.orm.rows import GRACE, Failure, Outcome
from hub.publisher import Item, RecordingPublisher


def django_database(url: str) -> dict[str, Any]:
    parts = urlsplit(url.replace("+psycopg", "").replace("+asyncpg", ""))
    if parts.scheme.startswith("sqlite"):
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": parts.path[1:]}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
    }


@pytest.fixture
def database(database_url: str) -> Iterator[None]:
    """Django's default database, with all tables, for one test."""
    before = connections.settings["default"]
    connections.settings["default"] = connections.configure_settings({"default": django_database(database_url)})[
        "default"
    ]
    connections["default"].close()
    del connections["default"]
    call_command("migrate", verbosity=0, run_syncdb=True)
    yield
    connections["default"].close()
    del connections["default"]
    connections.settings["default"] = before


@pytest.fixture
def publisher(database: None) -> Iterator[RecordingPublisher]:
    """What is told ends here."""
    recording = RecordingPublisher()
    recording.close = lambda: None  # type: ignore[method-assign,assignment]  # as SyncPublisher's, not a coroutine
    recording.publish_many = recording.record  # type: ignore[method-assign,assignment]  # likewise
    with mock.patch.object(telling, "_new_publisher", return_value=recording):
        yield recording
        telling.close()


def told(publisher: RecordingPublisher) -> list[tuple[str, Any]]:
    """What has been told since the last call, with versions left out."""
    assert telling.flush()
    found = []
    for channel, data in publisher.published:
        if isinstance(data, dict):
            data = {name: value for name, value in data.items() if name != "version"}
        found.append((channel, data))
    publisher.clear()
    return found


def article_told(article: models.Model, kind: str, **fields: Any) -> tuple[str, Any]:
    return f"article-{article.pk}", {"id": article.pk, "change": kind, "fields": fields}


def test_a_save_is_told(publisher: RecordingPublisher) -> None:
    article = Article.objects.create()
    assert told(publisher) == [("articles", True), article_told(article, "created", status="draft")]
    comment = Comment.objects.create(article=article)
    assert told(publisher) == [(f"comments-{article.pk}", comment.pk)]
    article.status = "live"
    article.save()
    assert told(publisher) == [("articles", True), article_told(article, "changed", status="live")]
    article.title = "x"
    article.save()
    assert told(publisher) == [("articles", True)]
    assert not Outbox.objects.exists()


def test_update_fields_are_believed(publisher: RecordingPublisher) -> None:
    article = Article.objects.create()
    told(publisher)
    article.save(update_fields=["status"])
    assert told(publisher) == [("articles", True), article_told(article, "changed", status="draft")]
    article.save(update_fields=["title"])
    assert told(publisher) == [("articles", True)]


def test_a_row_that_moves_tells_both_channels(publisher: RecordingPublisher) -> None:
    one, two = Article.objects.create(), Article.objects.create()
    comment = Comment.objects.create(article=one)
    told(publisher)
    comment = Comment.objects.get()
    comment.article = two
    comment.save()
    assert told(publisher) == [(f"comments-{two.pk}", comment.pk), (f"comments-{one.pk}", comment.pk)]


def test_a_row_that_another_process_moved_is_told_where_this_one_thinks_it_is(publisher: RecordingPublisher) -> None:
    one, two, three = (Article.objects.create() for _ in range(3))
    Comment.objects.create(article=one)
    for locks in (False, True):
        Comment.objects.update(article=one)
        told(publisher)
        comment = Comment.objects.get()
        # As another process would: no signal, nothing told.
        Comment.objects.update(article=two)
        with transaction.atomic():
            if locks:
                comment = Comment.objects.select_for_update().get()
            comment.article = three
            comment.save()
        left = two if locks else one
        assert told(publisher) == [(f"comments-{three.pk}", comment.pk), (f"comments-{left.pk}", comment.pk)]


def test_a_value_read_again_is_compared_with_that(publisher: RecordingPublisher) -> None:
    article = Article.objects.create()
    Article.objects.update(status="live")
    article.refresh_from_db()
    told(publisher)
    article.status = "draft"
    article.save()
    assert article_told(article, "changed", status="draft") in told(publisher)


def test_a_change_inside_a_json_field_is_noticed(publisher: RecordingPublisher) -> None:
    article = Article.objects.create(extra={"a": 1})
    with Declared(Article, "extra", watch=["extra"]):
        told(publisher)
        article.extra["a"] = 2
        article.save()
        assert ("extra", True) in told(publisher)
        article.save()
        assert ("extra", True) not in told(publisher)


def test_a_field_that_is_not_loaded_is_not_asked_for(publisher: RecordingPublisher) -> None:
    Article.objects.create()
    told(publisher)
    article = Article.objects.only("id").get()
    article.status = "live"
    article.save()
    assert told(publisher) == [("articles", True), article_told(article, "changed", status="live")]


def test_a_delete_is_told_with_what_it_takes_along(publisher: RecordingPublisher) -> None:
    article = Article.objects.create()
    comment = Comment.objects.create(article=article)
    told(publisher)
    pk, comment_pk = article.pk, comment.pk
    Article.objects.all().delete()
    assert sorted(told(publisher), key=str) == sorted(
        [
            ("articles", True),
            (f"article-{pk}", {"id": pk, "change": "deleted", "fields": {}}),
            (f"comments-{pk}", comment_pk),
        ],
        key=str,
    )


def test_a_many_to_many_change_is_told_from_either_side(publisher: RecordingPublisher) -> None:
    article, tag = Article.objects.create(), Tag.objects.create(name="news")
    told(publisher)
    related = [("articles", True), article_told(article, "related")]
    article.tags.add(tag)
    assert told(publisher) == related
    article.tags.add(tag)
    assert told(publisher) == []
    article.tags.clear()
    assert told(publisher) == related
    tag.articles.add(article)
    assert told(publisher) == related
    tag.articles.clear()
    assert told(publisher) == related
    article.tags.set([tag])
    assert told(publisher) == related
    tag.articles.remove(article)
    assert told(publisher) == related


def test_a_rollback_is_not_told_nor_a_savepoint_s(publisher: RecordingPublisher) -> None:
    with transaction.atomic():
        kept = Comment.objects.create(article=Article.objects.create())
        with transaction.atomic():
            Comment.objects.create(article_id=kept.article_id)
            transaction.set_rollback(True)
        assert told(publisher) == []
    assert [channel for channel, _ in told(publisher)] == [
        "articles",
        f"article-{kept.article_id}",
        f"comments-{kept.article_id}",
    ]
    with transaction.atomic():
        Article.objects.create()
        transaction.set_rollback(True)
    assert told(publisher) == []
    assert not Outbox.objects.exists()


def test_row_and_hint_stand_or_fall_together_outside_of_a_transaction(publisher: RecordingPublisher) -> None:
    """Django sends post_save after its own transaction: a process killed in between would leave a row untold."""
    with mock.patch.object(telling, "write", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        Article.objects.create()
    assert not Article.objects.exists()


def test_a_child_is_told_as_its_base_and_so_is_a_proxy(publisher: RecordingPublisher) -> None:
    feature = Feature.objects.create(words=1)
    assert told(publisher) == [("articles", True), article_told(feature, "created", status="draft")]
    draft = Draft.objects.create()
    assert told(publisher) == [("articles", True), article_told(draft, "created", status="draft")]


def test_fixtures_and_models_that_declare_nothing_tell_nothing(publisher: RecordingPublisher) -> None:
    Note.objects.create()
    Article(pk=7).save_base(raw=True)
    assert told(publisher) == []


def test_update_tells_the_rows_that_really_changed(publisher: RecordingPublisher) -> None:
    one, two = Article.objects.create(), Article.objects.create(status="live")
    told(publisher)
    assert update(Article.objects.filter(pk__in=[one.pk, two.pk]), status="live") == 2
    assert told(publisher) == [("articles", True), article_told(one, "changed", status="live")]
    comment = Comment.objects.create(article=one)
    told(publisher)
    assert update(Comment.objects.order_by("-pk"), article=two) == 1
    assert told(publisher) == [(f"comments-{two.pk}", comment.pk), (f"comments-{one.pk}", comment.pk)]
    assert update(Note.objects.all(), text="x") == 0


def test_update_of_very_many_rows_tells_the_channels_that_need_no_row(
    publisher: RecordingPublisher, caplog: Any
) -> None:
    Article.objects.bulk_create(Article() for _ in range(MAX_BULK + 1))
    assert update(Article.objects, status="live") == MAX_BULK + 1
    assert told(publisher) == [("articles", True)]
    assert "too many rows" in caplog.text


def test_bulk_create_tells(publisher: RecordingPublisher) -> None:
    article = Article.objects.create()
    told(publisher)
    rows = bulk_create(Comment.objects, [Comment(article=article), Comment(article=article)])
    assert told(publisher) == [(f"comments-{article.pk}", row.pk) for row in rows]
    rows = bulk_create(article.comments, [Comment(article=article)], batch_size=1)
    assert told(publisher) == [(f"comments-{article.pk}", row.pk) for row in rows]


def test_what_no_signal_says_can_be_touched_or_told(publisher: RecordingPublisher) -> None:
    article = Article.objects.create()
    told(publisher)
    with transaction.atomic():
        Article.objects.update(status="live")
        touch(Article.objects.all(), fields=["status"])
        tell("front-page", {"n": 1})
        assert told(publisher) == []
    assert told(publisher) == [
        ("articles", True),
        article_told(article, "changed", status="live"),
        ("front-page", {"n": 1}),
    ]
    touch(article, fields=["title"])
    assert told(publisher) == [("articles", True)]
    with pytest.raises(InvalidChannel):
        tell("")
    with pytest.raises(BadMessage):
        tell("x", {1})


def moved_deferred(pin: Pin) -> Pin:
    return Pin.objects.defer("place", "room").get()


def moved_only(pin: Pin) -> Pin:
    return Pin.objects.only("text").get()


def moved_by_key(pin: Pin) -> Pin:
    return Pin(pk=pin.pk, slug=pin.slug, room_id=pin.room_id)


def pins(publisher: RecordingPublisher) -> list[str]:
    return sorted({channel for channel, _ in told(publisher) if channel.startswith("pin-")})


@pytest.mark.parametrize("found", [moved_deferred, moved_only, moved_by_key])
def test_a_move_of_a_row_that_was_not_loaded_whole_tells_both_channels(
    publisher: RecordingPublisher, found: Callable[[Pin], Pin]
) -> None:
    """A form that loaded only what it shows moved a pin, and the board that the pin left kept it."""
    Room.objects.create(pk=1)
    pin = found(Pin.objects.create(room_id=1, place=2, slug=1))
    told(publisher)
    pin.place = 3
    pin.save()
    assert pins(publisher) == ["pin-1.2", "pin-1.3"]


#: Ways to say where a pin is.
PLACES: dict[str, Any] = {
    "fields": "pin-{room_id}.{place}",
    "a property": "pin-{board}",
    "a function": lambda pin: f"pin-{pin.board}",
}


@pytest.mark.parametrize("by", PLACES)
@pytest.mark.parametrize(
    ("change", "after"),
    [
        ({"text": "x"}, "1.2"),
        ({"room_id": 3}, "3.2"),
        ({"place": 3}, "1.3"),
        ({"text": "x", "update_fields": ["text"]}, "2.2"),
        ({"room_id": 3, "update_fields": ["room"]}, "3.2"),
        # Django loads what it shall save by name and has not.
        ({"text": "x", "update_fields": ["text", "place"]}, "2.2"),
    ],
    ids=str,
)
def test_a_channel_is_made_of_what_its_row_held_at_one_time(
    publisher: RecordingPublisher, by: str, change: dict[str, Any], after: str
) -> None:
    """One field of the channel was loaded before another process's save, one after: no row was ever there."""
    for pk in (1, 2, 3):
        Room.objects.create(pk=pk)
    Pin.objects.create(room_id=1, place=1, slug=1)
    with Declared(Pin, PLACES[by]):
        pin = Pin.objects.defer("place").get()
        Pin.objects.update(room=2, place=2)
        told(publisher)
        change = dict(change)
        update_fields = change.pop("update_fields", None)
        for name, value in change.items():
            setattr(pin, name, value)
        pin.save(update_fields=update_fields)
        assert pins(publisher) == sorted({"pin-2.2", f"pin-{after}"})
        found = Pin.objects.get()
        assert f"{found.room_id}.{found.place}" == after


@pytest.mark.parametrize("by", PLACES)
def test_a_row_that_moves_by_some_of_its_fields_is_told_where_the_others_have_it(
    publisher: RecordingPublisher, by: str
) -> None:
    """Another process moved a pin to another room, this one its place by name: told was a room that it had left."""
    for pk in (1, 2):
        Room.objects.create(pk=pk)
    Pin.objects.create(room_id=1, place=1, slug=1)
    with Declared(Pin, PLACES[by]):
        pin = Pin.objects.get()
        Pin.objects.update(room=2)
        told(publisher)
        pin.place = 3
        pin.save(update_fields=["place"])
        assert pins(publisher) == ["pin-2.1", "pin-2.3"]
        pin.text = "x"
        pin.save(update_fields=["text"])
        assert pins(publisher) == ["pin-2.3"]


@pytest.mark.parametrize(
    ("change", "names", "reads"),
    [
        ({"place": 3}, ["place"], 1),
        ({"place": 3, "room_id": 2}, ["place", "room"], 0),
        ({"text": "x"}, ["text"], 0),
        ({"place": 3}, None, 0),
    ],
    ids=str,
)
def test_only_a_row_that_moves_by_some_of_its_fields_is_read(
    publisher: RecordingPublisher, change: dict[str, Any], names: list[str] | None, reads: int
) -> None:
    for pk in (1, 2):
        Room.objects.create(pk=pk)
    pin = Pin.objects.create(room_id=1, place=1, slug=1)
    for name, value in change.items():
        setattr(pin, name, value)
    with CaptureQueriesContext(connection) as queries:
        pin.save(update_fields=names)
    read = [one["sql"] for one in queries if one["sql"].startswith("SELECT") and "_pin" in one["sql"]]
    assert len(read) == reads


def test_an_expression_is_told_as_what_it_became(publisher: RecordingPublisher, caplog: Any) -> None:
    """A counter was raised with F(), as Django's manual says: pages were sent `true`, with a traceback."""
    Room.objects.create(pk=1)
    pin = Pin.objects.create(room_id=1, place=2, slug=1, likes=4)
    told(publisher)
    pin.likes = F("likes") + 1
    pin.save()
    changed = {"id": pin.pk, "change": "changed", "fields": {"likes": 5}}
    assert told(publisher) == [("pin-1.2", True), ("pin-1.2", changed)]
    pin.refresh_from_db()
    pin.place = F("place") + 1
    pin.save()
    assert pins(publisher) == ["pin-1.2", "pin-1.3"]
    assert not caplog.records


def read_again_in_part(pin: Pin) -> None:
    pin.refresh_from_db(fields=["place"])


def loaded_late(pin: Pin) -> None:
    assert pin.place == 3


@pytest.mark.parametrize(("read", "without"), [(read_again_in_part, []), (loaded_late, ["place"])])
def test_a_row_read_again_in_part_is_told_where_it_was(
    publisher: RecordingPublisher, read: Callable[[Pin], None], without: list[str]
) -> None:
    """Its place was read after another process had moved it, its room before: what was told, no row ever was."""
    Room.objects.bulk_create([Room(pk=1), Room(pk=2)])
    Pin.objects.create(room_id=1, place=2, slug=1)
    pin = Pin.objects.defer(*without).get()
    Pin.objects.update(room=2, place=3)
    told(publisher)
    read(pin)
    pin.place = 5
    pin.save()
    assert pins(publisher) == ["pin-1.5", "pin-2.3"]


def test_what_was_only_assigned_is_not_told(publisher: RecordingPublisher) -> None:
    Room.objects.create(pk=1)
    pin = Pin.objects.create(room_id=1, place=2, slug=1)
    told(publisher)
    pin.place, pin.text = 3, "x"
    pin.save(update_fields=["text"])
    assert pins(publisher) == ["pin-1.2"]
    pin.save()
    assert pins(publisher) == ["pin-1.2", "pin-1.3"]
    pin.place = 4
    pin.delete()
    assert pins(publisher) == ["pin-1.3"]


def test_a_key_that_a_deletion_sets_to_null_is_told(publisher: RecordingPublisher) -> None:
    """A room was closed, and the pins on its board stayed there: SET_NULL sends no signal."""
    rooms = [Room.objects.create(pk=1), Room.objects.create(pk=2)]
    Pin.objects.create(room=rooms[0], place=2, slug=1)
    kept = Pin.objects.create(room=rooms[1], place=3, slug=2)
    told(publisher)
    rooms[0].delete()
    assert pins(publisher) == ["pin-1.2"]
    assert list(Pin.objects.exclude(room=None)) == [kept]
    Room.objects.all().delete()
    assert pins(publisher) == ["pin-2.3"]


def test_what_the_database_deletes_by_its_own_rule_is_told(publisher: RecordingPublisher) -> None:
    """As DB_CASCADE of Django 6.1 has it: Django collects nothing, the database deletes."""

    class Rule:
        """Stands for DB_CASCADE where Django has none: nothing is collected."""

        lazy_sub_objs = True

        def __call__(self, collector: Any, field: Any, rows: Any, using: str) -> None:
            """Nothing."""

        def on_delete_sql(self, editor: Any) -> str:
            return "CASCADE"

    room = Room.objects.create(pk=1)
    Post.objects.create(room=room, place=2, slug=1)
    told(publisher)

    def cascade(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        # The rule itself, which this table has not.
        if sql.startswith("DELETE FROM") and "newsroom_room" in sql:
            execute("DELETE FROM newsroom_post", None, False, context)
        return execute(sql, params, many, context)

    remote = Post._meta.get_field("room").remote_field
    cascades.forget_relations()
    with mock.patch.object(remote, "on_delete", Rule()), connections["default"].execute_wrapper(cascade):
        room.delete()
    cascades.forget_relations()
    assert sorted(channel for channel, _ in told(publisher)) == ["in-1.2", "post-2", "post-2"]


def test_bulk_create_with_conflicts_tells_what_stands_there(publisher: RecordingPublisher) -> None:
    Room.objects.create(pk=1)
    Pin.objects.create(room_id=1, place=2, slug=1)
    told(publisher)
    rows = [Pin(room_id=1, place=3, slug=1), Pin(room_id=1, place=4, slug=2)]
    bulk_create(Pin.objects, rows, ignore_conflicts=True)
    assert pins(publisher) == ["pin-1.4"]
    rows = [Pin(room_id=1, place=5, slug=1), Pin(room_id=1, place=6, slug=3)]
    bulk_create(Pin.objects, rows, update_conflicts=True, unique_fields=["slug"], update_fields=["place"])
    assert pins(publisher) == ["pin-1.2", "pin-1.5", "pin-1.6"]


def test_bulk_update_tells(publisher: RecordingPublisher) -> None:
    Room.objects.create(pk=1)
    pin = Pin.objects.create(room_id=1, place=2, slug=1)
    told(publisher)
    pin.place = 3
    bulk_update(Pin.objects, [pin], ["place"])
    assert pins(publisher) == ["pin-1.2", "pin-1.3"]


def test_what_django_says_nothing_of_is_not_told(publisher: RecordingPublisher) -> None:
    Room.objects.create(pk=1)
    Pin.objects.bulk_create([Pin(room_id=1, place=2, slug=1)])
    Pin.objects.update(place=3)
    pin = Pin.objects.get()
    pin.place = 4
    Pin.objects.bulk_update([pin], ["place"])
    with connections["default"].cursor() as cursor:
        cursor.execute("UPDATE newsroom_pin SET place = 5")
    Pin.objects.all()._raw_delete("default")
    assert told(publisher) == []


def test_a_model_on_another_database_is_saved_and_told_and_named_by_check(
    publisher: RecordingPublisher, tmp_path: Path
) -> None:
    """Every save of a model on a second database was refused, for the outbox was in the first; `check` said nothing."""
    settings_of = connections.configure_settings(
        {"default": {}, "far": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "far.db")}}
    )
    router = Mock(spec=["db_for_write", "allow_migrate"])
    router.db_for_write.side_effect = lambda model, **_: "far" if model is Comment else None
    router.allow_migrate.side_effect = lambda using, app, **_: using == "default" or app != "fanfare"
    connections.settings["far"] = settings_of["far"]
    try:
        with override_settings(DATABASE_ROUTERS=[router]):
            with connections["far"].schema_editor() as editor:
                for model in (Tag, Article, Comment):
                    editor.create_model(model)
            found = [one for one in run_checks() if one.id == "fanfare.W001"]
            assert [one.obj for one in found] == [Comment]
            assert "migrate --database far" in str(found[0].hint)
            with transaction.atomic(using="far"):
                comment = Comment.objects.create()
                comment.text = "x"
                with Declared(Comment, "far"):
                    comment.save()
                    assert told(publisher) == []
            assert Comment.objects.using("far").count() == 1
            assert told(publisher) == [("far", True)]
    finally:
        connections["far"].close()
        del connections["far"]
        del connections.settings["far"]


class Declared:
    """A declaration for the length of a block."""

    def __init__(self, model: type[models.Model], *arguments: Any, **options: Any) -> None:
        self._before = {one: list(found) for one, found in images.declared.items()}
        declare(model, *arguments, **options)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for model, found in self._before.items():
            images.declared[model][:] = found
        images.forget_plans()


def test_a_bad_payload_or_channel_never_fails_the_save(publisher: RecordingPublisher, caplog: Any) -> None:
    with Declared(Comment, "{text}"), Declared(Comment, "odd", lambda comment: {comment}):
        comment = Comment.objects.create(text="a\nb")
    assert told(publisher) == [("odd", True)]
    assert {(record.model, record.id) for record in caplog.records} == {("newsroom_comment", comment.pk)}


@pytest.mark.parametrize("options", [{"fields": ["nope"]}, {"watch": ["nope"]}, {"relations": ["comments"]}])
def test_a_declaration_that_names_what_the_model_has_not_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"has no (nope|comments)"):
        declare(Article, "x", **options)
    with pytest.raises(ValueError, match="has no nope"):
        declare(Article, tells("x-{nope}"))


def test_a_save_stands_while_the_hub_is_away_and_is_told_when_it_is_back(publisher: RecordingPublisher) -> None:
    publisher.error = BrokerUnavailable("away")
    Article.objects.create()
    assert not telling.flush()
    assert Outbox.objects.count() == 2
    publisher.error = None
    deadline = time.monotonic() + 60
    while not telling.flush():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(told(publisher)) == 2


def test_without_a_key_nothing_is_written_and_a_warning_says_so_once(database: None, caplog: Any) -> None:
    with override_settings(FANOUT_KEY=""):
        telling.close()
        Article.objects.create()
        Article.objects.create()
        assert not Outbox.objects.exists()
    assert [record.message for record in caplog.records] == ["FANOUT_KEY is not set, changes are not told"]
    telling.close()


def test_the_store_hears_what_postgresql_s_triggers_say(database: None) -> None:
    connection = connections["default"]
    with override_settings(FANOUT_LISTEN=False):
        assert DjangoStore("default").listen() is None
    listening = DjangoStore("default").listen()
    if connection.vendor == "sqlite":
        assert listening is None
        return
    assert listening is not None
    assert listening.take() == 0
    with connection.cursor() as cursor:
        cursor.execute("NOTIFY fanfare_outbox")
    assert select.select([listening], [], [], 5)[0]
    assert listening.take() == 1
    listening.close()


def test_with_the_hub_s_redis_changes_are_told_straight_and_no_key_is_needed(database: None, redis_url: str) -> None:
    async def listen() -> tuple[RedisBroker, Ear]:
        broker, ear = RedisBroker(redis_url), Ear()
        await broker.open(ear)
        return broker, ear

    with asyncio.Runner() as runner, override_settings(FANOUT_KEY="", FANOUT_REDIS_URL=redis_url):
        broker, ear = runner.run(listen())
        telling.close()
        article = Article.objects.create()
        assert telling.flush()
        runner.run(ear.hear(2))
        # In which order depends on the shards that they are in: nothing is promised across channels.
        assert sorted(each.channel for each in ear.heard) == [f"/article-{article.pk}", "/articles"]
        assert telling.position("articles") == str(ear.of("/articles")[0].position)
        assert not Outbox.objects.exists()
        telling.close()
        runner.run(broker.close())


def test_a_bad_url_of_redis_is_named() -> None:
    with override_settings(FANOUT_REDIS_URL="redis://host:port"):
        telling.close()
        with pytest.raises(ImproperlyConfigured, match="FANOUT_REDIS_URL: "):
            telling.publisher()
        telling.close()


@pytest.mark.parametrize(
    "values", [{"FANOUT_KEY": "xyz98"}, {"FANOUT_KEY": 7}, {"FANOUT_URL": None, "FANOUT_REALM": 1}]
)
def test_a_bad_setting_is_named(values: dict[str, Any]) -> None:
    with override_settings(**values), pytest.raises(ImproperlyConfigured, match=r"FANOUT_(KEY|REALM): "):
        settings.read()


def test_the_settings_of_older_sites_are_read() -> None:
    with override_settings(FANOUT_REALM_ID="old", FANOUT_REALM_KEY="a2s=", FANOUT_KEY=None, FANOUT_REALM=None):
        found = settings.read()
    assert (found.realm, found.key) == ("old", b"kk")


def test_the_store_keeps_the_outbox_s_rules(database: None) -> None:
    """Those of `hub.orm.outbox`, whose tests say why."""
    store = DjangoStore("default")
    old = Outbox.objects.create(channel="/a", data="1", subject="x:1", created=1000.0, due=1000.0)
    new = Outbox.objects.create(channel="/a", data="2", subject="x:1", created=1001.0, due=1001.0)
    assert [row.id for row in store.take([new.pk], ["x:1"])] == [old.pk, new.pk]
    assert [row.id for row in store.take([new.pk], [])] == [new.pk]
    assert [row.id for row in store.due(1000.5)] == [old.pk]
    store.settle(Outcome(failed=[Failure(store.due(1000.5)[0], "403", 1010.0)]))
    assert store.due(1005.0) == []
    assert [(row.id, row.tries) for row in store.due(1010.0)] == [(old.pk, 1), (new.pk, 0)]
    store.settle(Outcome(told=[new.pk], failed=[Failure(store.due(1010.0)[0], "403", None)]))
    assert store.due(9999.0) == []
    assert Outbox.objects.get().last_error == "403"
    assert store.hold_lease("alice", 1000.0, 10)
    assert not store.hold_lease("bob", 1005.0, 10)
    assert store.hold_lease("bob", 1011.0, 10)
    store.drop_lease("bob")
    assert not Lease.objects.exists()


def test_a_process_tells_what_another_left(publisher: RecordingPublisher) -> None:
    now = time.time() - GRACE
    Outbox.objects.create(channel="/left", data="true", created=now, due=now)
    teller = telling.teller("default")
    assert teller is not None
    teller.start()
    assert told(publisher) == [("left", True)]


def test_recorded_hints_shows_what_a_test_would_tell(database: None) -> None:
    class Inner(TestCase):
        def runTest(self) -> None:  # noqa: N802  # unittest's name
            with recorded_hints() as hints:
                Comment.objects.create(article_id=Article.objects.create(pk=17).pk)
                with transaction.atomic():
                    Comment.objects.create(article_id=17)
                    transaction.set_rollback(True)
            assert [channel for channel, _ in hints] == ["articles", "article-17", "comments-17"]

    case = Inner()
    case.debug()
    with recorded_hints() as hints:
        Comment.objects.create(article=Article.objects.create())
    assert len(hints) == 3
    assert not Outbox.objects.exists()


def test_the_script_tag_points_at_the_hub() -> None:
    template = Template("{% load fanfare %}{% fanout_script %}")
    with override_settings(FANOUT_PUBLIC_URL="https://hub.example/", FANOUT_INTEGRITY="sha384-x"):
        assert template.render(Context()) == (
            '<script src="https://hub.example/bayeux/static/fanout.js" data-url="https://hub.example/bayeux"'
            ' crossorigin="anonymous" integrity="sha384-x" defer></script>'
        )
    with override_settings(FANOUT_PUBLIC_URL='"><script>'):
        assert "><script>/bayeux" not in template.render(Context())


def test_the_position_tag_gives_the_position_and_nothing_when_the_hub_is_away(publisher: RecordingPublisher) -> None:
    template = Template('{% load fanfare %}{% position "articles" %}')
    publisher.position = lambda channel: "k3.7"  # type: ignore[method-assign,assignment]  # as SyncPublisher's
    assert template.render(Context()) == "k3.7"
    publisher.position = lambda channel: None  # type: ignore[method-assign,assignment]  # likewise
    assert template.render(Context()) == ""
    publisher.position = mock.Mock(side_effect=AssertionError)  # type: ignore[method-assign]  # must not be asked again
    assert template.render(Context()) == ""


def test_the_publish_command_publishes(publisher: RecordingPublisher) -> None:
    def publish(channel: str, data: object, *, id: str | None = None) -> None:
        publisher.record([Item(channel, data)])

    publisher.publish = publish  # type: ignore[method-assign,assignment]  # as SyncPublisher's
    call_command("fanfare_publish", "comments-17", '{"a": 1}')
    assert publisher.published == [("comments-17", {"a": 1})]
    for arguments in (["x", "{"], ["", "1"]):
        with pytest.raises(CommandError):
            call_command("fanfare_publish", *arguments)


def test_the_outbox_command_lists_retries_and_drops(database: None) -> None:
    def run(*arguments: str) -> str:
        output = StringIO()
        call_command("fanfare_outbox", *arguments, stdout=output)
        return output.getvalue()

    row = Outbox.objects.create(channel="/a", data="true", created=1.0, due=None, last_error="403::no")
    assert run() == f"0 waiting, 1 parked\n{row.pk}\t/a\ttrue\t403::no\n"
    assert run("--retry") == "1 to be told again\n"
    assert run() == "1 waiting, 0 parked\n"
    Outbox.objects.update(due=None)
    assert run("--drop", str(row.pk)) == "1 dropped\n"


def test_the_migration_makes_the_tables_that_the_models_say() -> None:
    with mock.patch.object(telling_module.logger, "warning"):
        call_command("makemigrations", "fanfare", "--check", "--dry-run", verbosity=0)
