"""Django is set up before the plugin looks for it."""

import library  # noqa: F401
