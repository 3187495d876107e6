"""A site of pages with faults, in Django."""

from pathlib import Path

import django
from django.conf import settings
from django.shortcuts import render
from django.urls import path

TEMPLATES = Path(__file__).parent / "templates"

if not settings.configured:
    settings.configure(
        SECRET_KEY="not a secret: this is an example",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [TEMPLATES]}],
    )
    django.setup()


def page(request, name):
    """A page by its name."""
    return render(request, f"{name}.html", {"title": name})


urlpatterns = [path("<slug:name>", page)]
