"""The hub, in reading order.

errors         every error raised on purpose, as a tree
forwarded      whose a request is, behind proxies; pure
origins        what an origin and a host are, and which are the same; pure
hosts          the names that the hub answers to; pure
protocol/      the words: names, messages, publications, frames, tokens; pure
peers          whose a connection or a request is; pure
recent         what was delivered lately, for connections that died
backlog        what comes for sessions that nothing reaches
tops           how far this process has heard each channel; what pages are kept by
sessions       what the hub remembers of a client; who listens to what
tentative      subscriptions whose record is not saved yet, and how they are undone
bayeux         the rules: messages in, an Outcome out; never waits
histories      how much is kept of which channels
presence       the rules of who is in which channel, over all workers
brokers/       the log: memory for one process, Redis for many
polls          one HTTP request of a client, and where its answer goes
record         a session as other workers find it in the broker
session_store  which sessions this node owns, and how they change owners
mail           what workers say to each other
carrier        requests carried to the worker that owns their session
delivery       fan-out, once a tick
follower       code that follows channels as sessions do, without a socket
turns, lanes   costly work of all in small pieces; each client's requests in their order
node           the hub in one process: holds, wakes, expires, drains
reporter       presence in a node: tells the others, and hears them
hearing        which names somebody hears, over all workers
ordering       publishing in the order that prev-id asks for
transports/    how bytes reach the node
publisher      the door for other code; caller is its HTTP
               connection to a hub in another process
remote         following the channels of a hub in another process
orm/           ORM-change notifications
memory         what is kept of freed memory, and when the rest is given back
app            the parts put together; serve
realms         which tenants there are, and which one a request is for
settings, cli  what may differ between two deployments; the command
"""
