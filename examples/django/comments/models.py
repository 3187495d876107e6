"""Articles and what people say about them."""

from django.db import models

from hub.orm.declarations import tells


class Article(models.Model):
    title = models.CharField(max_length=200)

    @property
    def channel(self):
        """What the article's page subscribes to."""
        return f"comments-{self.pk}"

    def __str__(self):
        return self.title


class Comment(models.Model):
    # The one line that makes pages follow: every save, edit and delete tells the article's channel.
    __hints__ = tells("comments-{article_id}")

    article = models.ForeignKey(Article, on_delete=models.CASCADE, related_name="comments")
    name = models.CharField(max_length=40)
    text = models.TextField(max_length=2000)
    approved = models.BooleanField(default=True)

    class Meta:
        ordering = ("pk",)

    def __str__(self):
        return f"{self.name}: {self.text[:40]}"
