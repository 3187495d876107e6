"""How bytes reach the node: with `hub.app` the only modules that know aiohttp.

front        the listening socket's first protocol: WebSocket upgrades here, the rest to aiohttp
websocket    RFC 6455 connections; Bayeux over them
polling      long-polling and callback-polling: a request, one answer
eventsource  Server-Sent Events
plain        /ws, /sse, /poll: the same channels without Bayeux
fpp          Fanout's own protocol for old pages
halves       clients that end their sending side and wait for the answer
static       the browser client
publish      the Fanout publish API
feed         which names somebody hears, for who publishes
routes       requests to the realm they are for
browsers     which browser a poll is of
origins      who may come from where
"""
