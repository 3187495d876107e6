"""Who somebody is: users, their passwords, and the visitors behind cookies. Knows no feature.

roles      what each may do: one table
users      the table of those who may sign in
passwords  hashed and verified, off the event loop
visitors   the signed cookie, the token of a form
signins    where a user is signed in: a row a browser
browsers   how a browser and its network are named to the user
settings   the secret that signs them
"""
