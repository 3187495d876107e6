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
    """Declares nothing."""

    text = models.TextField(default="")

    def __str__(self) -> str:
        return self.text
