"""The hub seen from inside: what it is doing now, what it did, and what became of one message or one client.

A sample is taken once a second, of numbers that are counted anyway, and kept in a ring of a fixed size; the rest is
worked out when somebody looks. `Inside` is the part that waits; sites look through it too.
"""
