"""The site, in rooms. Imports point down this list; `setup.cfg` holds it.

cli, commands   the command `fanfare`: names and arguments, and what its commands do
app             puts the features and the rooms together, beside the hub; FEATURES names them all
settings        what may differ between two deployments, read once: the rooms' tables and the features'
features/       a folder each: what the site is for. They stand apart; `comments` alone is used by others
feature         what a feature's folder hands in
middleware/     around every view: errors, visitors, forgery, security headers, conditional answers
pages/          what views are made with: requests, templates, links, assets, shared answers
services/       the world outside: HTTP to others, guarded
identity/       users, passwords, visitors
heads           what is read of a request's head, in linear time
db/             the database; `Database.saving()`: commit, then give the hints; migrations

The ground (all below `features`) knows no feature. The hub is entered by `hub.publisher`, and by `hub.orm` for
notifications; `app`, `cli` and `commands` alone know more of it. templates/, static/ and tests/web/ have a folder or
file of a feature's name.
"""
