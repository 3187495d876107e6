"""`python -m web`: what `fanfare` does."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
