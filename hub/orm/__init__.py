"""ORM-change notifications: a save anywhere reaches the page.

declarations   which changes of a row tell which channels, with what payload; pure
rows           what waits in the outbox, and the rules of telling it; pure
teller         tells at once what was committed here, and sweeps what was left; knows no database
outbox         the outbox as SQLAlchemy tables; the sweeper's statements
leases         rows that one process has at a time: the sweeper's, and whose else's
away           a database that can't be reached, told from a bug
retries        how long to wait before trying again
database_url   DATABASE_URL, read the same way by every command; pure
engines        connections to that database
sqlalchemy     Notifier: collects at flush, tells after commit
flushing       the rows of one flush, as they were and as they are
statements     the rows of an INSERT, UPDATE or DELETE, likewise
mapped         which columns a mapped class's declarations need, and how they are read
listening      hears NOTIFY without an event loop
metrics        the outbox for /metrics
postgres       triggers, so that psql and other languages are heard too
watched        which tables have triggers, and what is wrong with those; pure
django/        the same as an installable Django app; needs no SQLAlchemy

Import from the module you need: this package imports none of them, so that a Django site needs
no SQLAlchemy and the other way round.
"""
