"""Threads and their comments, for features whose pages have one. Knows no owner of a thread.

models   a thread, a comment, and `HasThread` for a model that owns one
hints    which channel a thread's changes tell
forms    what somebody wrote, checked
queries  the newest comments of a thread
views    what an owner's routes answer with: the list as JSON, a comment posted
"""
