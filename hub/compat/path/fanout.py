"""What `import fanout` finds when this folder is on PYTHONPATH: `hub.compat`."""

import os

from hub import compat

# The one setting that code written for the hosted service has no line for.
compat.install(os.environ.get("FANOUT_URL"))  # noqa: TID251  # read once, here
