"""Podcast Time: how long your podcasts take, from real feeds, honestly.

durations dates names addresses   values of feeds, as they are written and as we have them; pure
feeds reading repairs             a feed from its bytes; pure
merging schedule times forecast   which episode is which, when to fetch, how long it takes, what comes; pure
lift opml finding plots shown     recommendations, lists of other players, names, pictures, shapes of answers; pure
models hints settings             tables, what they tell, what may be set
fetching store picking jobs       a feed fetched, written down, in its time; lists that are picked
probing probes push               lengths that the sound files say; hubs that tell us
directory search queries limits   podcasts found: here, elsewhere; rows as pages show them
mine podcast picks api            pages, and the API
"""
