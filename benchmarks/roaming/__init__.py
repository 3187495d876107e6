"""Unmodified clients whose requests reach whichever worker, and whether each hears what it was answered it would.

    python -m benchmarks.roaming [--pages 300] [--workers N …] [--way direct|nginx …]      (`make roaming`)

A page shakes hands, subscribes to five channels 100 ms apart while its poll is held, hears a publication on each,
leaves one of the channels, and hears another publication on the rest. CometD 9 and Faye 1.4.3 as npm has them, by every
transport that polls, in Node and in Chromium, with 2 and 4 workers and Redis: directly, and through an nginx that says
no more than `proxy_pass`, which opens a connection for each request.

visit.mjs   a page's visit, in Node and in Chromium alike
node.mjs    many visits in one Node process
cast        who comes, by which transport, from where
stage       Redis, workers and nginx
"""
