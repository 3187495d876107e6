"""Who somebody is: users, their passwords, and the visitors behind cookies. Knows no feature.

users      the table of those who may sign in
passwords  hashed and verified, off the event loop
visitors   the signed cookie, the token of a form
settings   the secret that signs them
"""
