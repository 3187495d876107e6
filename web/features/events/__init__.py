"""The site's calendar.

models    events and their categories
hints     which channels their changes tell
calendar  what is live, what comes, what was
page      an event's page and its comments
manage    the manager's table and form
demo      a town's calendar, for the first run
"""
