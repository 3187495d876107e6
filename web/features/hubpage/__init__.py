"""The hub seen from inside, as a page for managers."""
