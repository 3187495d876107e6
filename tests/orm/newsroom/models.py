"""Articles with tags and comments."""

from __future__ import annotations

from django.db import models

from hub.orm.declarations import tells


class Tag(models.Model):
    name = models.CharField(max_length=20)

    def __str__(self) -> str:
        return self.name


class Article(models.Model):
    __hints__ = (tells("articles"), tells("article-{id}", fields=["status"]))

    title = models.CharField(max_length=100, default="")
    status = models.CharField(max_length=20, default="draft")
    extra = models.JSONField(default=dict)
    tags = models.ManyToManyField(Tag, related_name="articles")

    def __str__(self) -> str:
        return self.title


class Feature(Article):
    """Multi-table inheritance: its declarations are its base's."""

    words = models.IntegerField(default=0)


class Draft(Article):
    class Meta:
        proxy = True


class Comment(models.Model):
    __hints__ = tells("comments-{article_id}", lambda comment: comment.pk)

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="comments", null=True)
    text = models.TextField(default="")

    def __str__(self) -> str:
        return self.text


class Note(models.Model):
    """A model without `__hints__`."""

    text = models.TextField(default="")

    def __str__(self) -> str:
        return self.text


class Room(models.Model):
    """What pins refer to. It declares nothing."""

    def __str__(self) -> str:
        return f"room {self.pk}"


class Pin(models.Model):
    """Each place in its channel's name is used by tests once; see test_django_comparison."""

    __hints__ = (tells("pin-{room_id}.{place}"), tells("pin-{room_id}.{place}", fields=["likes"]))

    room = models.ForeignKey(Room, on_delete=models.SET_NULL, null=True)
    place = models.IntegerField(default=0)
    slug = models.IntegerField(unique=True)
    likes = models.IntegerField(default=0)
    text = models.TextField(default="")

    @property
    def board(self) -> str:
        return f"{self.room_id}.{self.place}"

    def __str__(self) -> str:
        return f"pin {self.pk}"


class Post(models.Model):
    """A function and a property make its channels; it goes with its room."""

    __hints__ = (
        tells(lambda post: [post.page, f"in-{post.room_id}.{post.place}"], lambda post: [post.pk, post.text]),
        tells("{page}"),
    )

    room = models.ForeignKey(Room, on_delete=models.CASCADE)
    place = models.IntegerField(default=0)
    slug = models.IntegerField()
    side = models.IntegerField(default=1)
    likes = models.IntegerField(default=0)
    text = models.TextField(default="")

    class Meta:
        unique_together = (("slug", "side"),)

    @property
    def page(self) -> str:
        return f"post-{self.place}"

    def __str__(self) -> str:
        return f"post {self.pk}"


class LongPost(Post):
    """Multi-table inheritance: where it is, is in its base's table."""

    words = models.IntegerField(default=0)
