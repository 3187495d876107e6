"""The blog: posts by Markdown, in categories, with comments and feeds.

models       posts, their categories, the addresses that they had; versions, drafts, imports, subscribers
hints        which channels their changes tell
text         Markdown to HTML
scripts      names that look like others
posts        saving one: made, edited, published, planned, taken back
versions     what posts were
jobs         what is due later: telling, closing comments, rendering anew
addresses    of lists and posts
origin       the site's own address
queries      posts as columns, by page
lists        the home page, and categories
page         a post's page and its comments
syndication  RSS, Atom, JSON Feed and the sitemap as text
feeds        those as answers
demo         three posts, for the first run

The desk:

desk         its table of posts
editor       a post as a form, with what it will look like
forms        the form's fields
zones        times of a writer's clock
drafts       what is typed and not saved
history      versions as pages
differences  of two texts

WebSub:

websub       what a hub is asked for and says
subscribers  the hub, and its jobs

In and out:

importing        files of other tools as plain values; restructured, imported
exporting        those as files
moving           posts into the database and out of it
imported_comments  comments of other tools as plain values
comment_text     their HTML as what one types
moving_comments  those into threads
cli, commands    `fanfare posts`, `fanfare comments`
"""
