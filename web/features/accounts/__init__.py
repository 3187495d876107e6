"""Signing in and out, and making the accounts that may.

views     the login form, signing out
people    accounts made, passwords changed
attempts  how often somebody may try to sign in
demo      the manager's account, for the first run
cli       the command `fanfare manager`
"""
