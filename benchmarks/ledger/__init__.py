"""The ledger: numbered changes are saved and told while faults are injected; every client keeps the books.

    python -m benchmarks.ledger [--seconds S] [--clients N] [--fault NAME …]      (`make chaos`)

A publisher writes numbered changes of some channels into a database and tells the hub. Clients
over WebSocket, long-polling, Server-Sent Events and fanout.js record what they get. At the end
each must have every number of its channel in order, or have been told "lost" and have fetched the
database's state since. What is missing and was not flagged is a silent loss, and there must be none.

Beside its own channel each client in Python that speaks Bayeux hears others for a while, one after the other: it
subscribes and unsubscribes all the time, while its connect is held. What is published after a subscribe was answered
must come; what is published after an unsubscribe was answered must not.

Code of a site apart (`hub.remote`) follows its channel too, and keeps a page of it while its top stands: none may be
given that lacks a change which was told longer ago than such a process may be mistaken.

accounts    what one client got, and whether it adds up; pure
sides       from which answer on a channel must be heard, until which answer it may be; pure
clients     clients in Python, by transport, and fanout.js in Node
proxy       a TCP proxy that cuts, stalls, refuses, and can be pointed elsewhere
stage       Redis, workers, publisher, clients: started together, ended together
faults      what goes wrong, one function each
"""
