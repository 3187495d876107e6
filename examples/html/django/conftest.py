"""Django is set up before the plugin looks for it."""

import site_of_faults  # noqa: F401
