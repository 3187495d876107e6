"""The blog: posts by Markdown, in categories, with comments and feeds.

models       posts, their categories, the addresses that they had
hints        which channels their changes tell
text         Markdown to HTML
posts        saving one: made, edited, published, planned, taken back
jobs         what is due later: telling, closing comments, rendering anew
addresses    of lists and posts
origin       the site's own address
queries      posts as columns, by page
lists        the home page, and categories
page         a post's page and its comments
syndication  RSS, Atom, JSON Feed and the sitemap as text
feeds        those as answers
demo         three posts, for the first run
"""
