"""The database: the lowest room. Knows no feature; models of features subclass `tables.Base`.

tables      what every table shares: the base class, names of constraints, times with their zone
settings    where the database is
engine      connections with the site's manners, for SQLite and PostgreSQL
database    `Database.saving()`: commit, then give the hints
migrate     bring the tables up to date
migrations/ the tables' history (Alembic), one chain for the whole site
"""
