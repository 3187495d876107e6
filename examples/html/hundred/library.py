"""A library of a hundred books, in Django: a page each."""

from pathlib import Path

import django
from django.conf import settings
from django.db import models
from django.shortcuts import get_object_or_404, render
from django.urls import path

if not settings.configured:
    settings.configure(
        SECRET_KEY="not a secret: this is an example",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [Path(__file__).parent / "templates"],
            }
        ],
    )
    django.setup()


class Book(models.Model):
    """A book, and the one that it goes on from."""

    title = models.CharField(max_length=100)
    before = models.ForeignKey("self", models.CASCADE, null=True, related_name="after")

    class Meta:
        app_label = "library"

    def __str__(self):
        return self.title


class Chapter(models.Model):
    """A chapter of a book."""

    book = models.ForeignKey(Book, models.CASCADE, related_name="chapters")
    number = models.IntegerField()
    title = models.CharField(max_length=100)

    class Meta:
        app_label = "library"
        ordering = ("number",)

    def __str__(self):
        return self.title


def book(request, number):
    """A book's page."""
    found = get_object_or_404(Book.objects.select_related("before"), pk=number)
    return render(request, "book.html", {"book": found, "others": Book.objects.exclude(pk=number)})


urlpatterns = [path("books/<int:number>", book, name="book")]
