"""Importing this sets Django up with the tests' site, so that its models can be imported."""

from __future__ import annotations

import os

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "newsroom.settings"
django.setup()
# The examples are started with this environment, and have settings of their own.
del os.environ["DJANGO_SETTINGS_MODULE"]
