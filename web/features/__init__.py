"""The site's features, a folder each. They stand apart: none imports another, but `comments`, which knows none of them.

Each has in `feature.py` what it hands in (`web.feature.Feature`); `web.app.FEATURES` names them all.

accounts    signing in and out
blog        posts, their lists and feeds
comments    threads and their comments, for features whose pages have one
components  what pages are built of, in one page
events      the calendar, an event's page, the manager's table
headsup     pushes that tell somebody something: the hook, rules, mail, the log
"""
