"""How bytes reach the node: with `hub.app` the only modules that know aiohttp.

front        the listening socket's first protocol: WebSocket upgrades here, the rest to aiohttp
websocket    RFC 6455 connections; Bayeux over them
polling      long-polling and callback-polling: a request, one answer
eventsource  Server-Sent Events
plain        /ws, /sse, /poll: the same channels without Bayeux
fpp          Fanout's own protocol for old pages
lean         polls and publishes without a web framework; lent gives a connection to aiohttp and takes it back
repeats      the answers to requests that are byte for byte the same
handlers     aiohttp's handler of a connection, with our answers to what its parser refuses
answers      responses, whoever writes them
bodies       the bodies of requests, within bounds
unread       a bound of what waits for the clients of each address
half_open    clients that vanished without a FIN
halves       clients that end their sending side and wait for the answer
static       the browser client
publish      the Fanout publish API
feed         which channels have subscribers, for publishers
roster       who is in a channel
inside       the hub from inside, as JSON
routes       requests to the realm they are for
browsers     which browser a poll is of
origins      who may come from where
"""
