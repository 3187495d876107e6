"""Signing in and out, and the accounts of those who may.

views         the login form, signing out
github_views  signing in with GitHub: there and back
account       a user's own page: password, GitHub, where they are signed in
people        accounts made, given passwords and roles, joined to GitHub's
github        GitHub's OAuth and API; who gets which role by it
flow          the cookie of a sign-in that is under way
attempts      how often somebody may try to sign in
demo          the manager's account, for the first run
cli           the commands `fanfare manager` and `fanfare role`
"""
