"""How best to read a row and the row that it belongs to: a look-up each, a join, or select-in. docs/joins.md.

songs      artists and songs by their numbers. Pure
figures    what many durations come to. Pure
ways       the three ways, and how many questions each asks
store      artists and songs in a schema, or a file, of their own; made when they are needed, and dropped
measuring  the ways in turns, with shuffled ids; their SQL, and what the database makes of it
runs       what was measured here, as rows
jobs       a run, begun on the page
page       /lab/joins
commands   what `fanfare lab joins` does
"""
