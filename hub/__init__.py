"""The hub, in reading order.

errors         every error raised on purpose, as a tree
forwarded      whose a request is, behind proxies; pure
origins        what an origin and a host are, and which are the same; pure
hosts          the names that the hub answers to; pure
ids            how clientIds are made
protocol/      the words: names, messages, publications, frames, tokens; pure
peers          whose a connection or a request is; pure
parted         a dictionary in parts, for what may become very large; pure

tops           how far this process has heard each channel; what pages are kept by
sessions/      what the hub remembers of a client; who listens to what; what waits for sessions without a connection
seen           how late publications are in browsers; pure
renewals       tokens that take the place of others, or expire; pure
notes          what was published here and by whom, and what became of sessions; pure
tentative      subscriptions whose record is not saved yet, and how they are undone
bayeux/        the rules: messages in, an Outcome out; never waits
histories      how much is kept of which channels
presence/      the rules of who is in which channel, over all workers
brokers/       the log: memory for one process, Redis for many

polls          one HTTP request of a client, and where its answer goes
turns, lanes   costly work of all in small pieces; each client's requests in their order
link_queues    a WebSocket's batches in their order
wheel, tasks   one timer for all that is due some time; work that outlives its request
counters       what a node has done, as numbers
record         a session as other workers find it in the broker
session_store  which sessions this node owns, and how they change owners
mail           what workers say to each other
carrier        requests carried to the worker that owns their session
routing        where a request is taken: here, or by that worker
delivery       fan-out, once a tick
recoveries     what came after a position waits for the session that asks
deadlines      held connects, tokens and sessions that are due
kicks          users who are sent away
follower       code that follows channels as sessions do, without a socket
extensions     code of the site that sees publications before subscribers do
ends           how sessions and their links end, and what is noted of it
sending        what sessions are sent: answers to held connects, and what has waited, by links
closings       what publishers say of connections, done once all before was delivered
streams        sessions that go on on an event stream
intake         requests: each client's in order, large ones in pieces
effects        what the rules left to do for a request: publish, recover, save, answer
node           the hub in one process: puts the parts together, starts and drains

reporter       presence in a node: tells the others, and hears them
hearing        which names somebody hears, over all workers
counting       how many sessions a publication reaches
ordering       publishing in the order that prev-id asks for
transports/    how bytes reach the node
publisher      the door for other code; caller is its HTTP connection to a hub in another process
remote         following the channels of a hub in another process
listener       listening to a hub from a command
orm/           saves that tell
compat/        for code that says `import fanout`

inside/        what the hub is doing now, and what became of one message or one client
metrics        what /metrics says; siblings asks the other workers of a server
memory         what is kept of freed memory, and when the rest is given back
checks         what else must work for the hub to be ready
realms         which tenants there are, and which one a request is for
settings       what may differ between two deployments
files, logs    where the files are that go with the code; the log's lines
workers        several processes on one port
app            the parts put together; serve
cli            the command: checkup is its `check`, doctor its `doctor`, top its `top` and `trace`, bench and
               bench_saves its benchmarks; banner is what a server says of itself when it starts
"""
