"""What the site's pages are built of, in one page, each in every state. For who builds pages, and for tests.

page     the page, and a form to try
samples  what it shows
job      a job that only counts, to see a bar move
"""
