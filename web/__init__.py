"""The site: events, their comments, and the pages that follow them.

services/      HTTP to others, guarded
settings       what may differ between two deployments; read once
keys           where the application keeps its parts
models         tables
hints          which change tells which channel
db             the database; `Database.saving()`: commit, then give the hints
migrations/    the tables' history (Alembic)
demo           content for the first run
assets         static files: versions, integrity, caching
shared         one answer for many who ask at the same moment
visitors       who is at the other end: the signed cookie, the token of a form
attempts       how often somebody may try to sign in
requests       reading forms, answering in the form that was asked for
middlewares    errors as pages or JSON, security headers, conditional answers
templating     what every template may use
home           the home page
events         an event's page and its comments
accounts       signing in and out
manage         the manager's table of events
app            puts the parts together and beside the hub
cli            the command `fanfare`; commands has what its site commands do

Features (home, events, accounts, manage) don't import each other. The hub is entered by
`hub.publisher`, and by `hub.orm` for notifications; `app` and `cli` alone know more of it.
"""
