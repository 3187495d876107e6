"""How many queries something asks, from where, and how many are too many: a plugin for pytest. docs/queries.md.

shapes      a statement without its values. Pure
asked       what was asked, by request or block
places      the lines of the project that led to a question, of templates too
finding     many questions of one shape from one line, and the loader to write instead
budgets     queries and rows by route, as a file keeps them
alchemy     listens to SQLAlchemy, sync and async
django      listens to Django
frameworks  tells requests apart: aiohttp, Django, Flask, ASGI
plugin      for pytest
"""
