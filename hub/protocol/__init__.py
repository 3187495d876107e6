"""The words: pure functions and values. No I/O, no clock, no state between calls.

channels      grammar of names and patterns; the patterns that match a name
messages      Bayeux messages: parse a batch, build replies, advice
publications  Position, Draft, Publication and their wire forms
frames        WebSocket frames, RFC 6455 and 7692
events        text/event-stream: when to come back, and the last id
fanout        Fanout publish bodies ⇄ drafts
tokens        sign and verify publish tokens, given key and time
"""
