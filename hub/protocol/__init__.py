"""The words: pure functions and values. No I/O, no clock, no state between calls.

channels      grammar of names and patterns; the patterns that match a name
messages      Bayeux messages: parse a batch, build replies, advice
publications  Position, Draft, Publication and their wire forms
frames        WebSocket frames, RFC 6455 and 7692
close_codes   why a WebSocket is closed
events        text/event-stream: when to come back, and the last id
fanout        Fanout publish bodies ⇄ drafts
tokens        sign and verify publish tokens, given key and time
access        access rules: who may do what, by channel pattern
dialects      error texts, with the specification's codes or those of Faye's server
plain         the messages of /ws, /sse and /poll
replay        replay ids, as in Salesforce's Streaming API
sequence      the order of items that prev-id asks for
heads         the head of an HTTP/1 request, and the WebSocket upgrade that it may ask for
escapes       percent-encoding
surrogates    unpaired surrogates in a JSON text, replaced before it is decoded
remembered    caches of what was worked out about names, with one bound for a process
"""
