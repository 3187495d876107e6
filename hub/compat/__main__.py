"""`python -m hub.compat` prints the folder to put on PYTHONPATH."""

from . import folder

print(folder())
