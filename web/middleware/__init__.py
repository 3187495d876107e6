"""Around every view of the site. The hub's routes live in the same application and speak their own protocols, so all of
this keeps its hands off them.

stack        the middlewares, outermost first
errors       failures as pages or JSON
visitors     who is asking
forgery      forms come from pages of ours
writes       how far a worker must hear to know of what a form has saved
security     headers
conditional  tags, and 304 for who has this very answer
"""
