"""What the hub remembers of a client, and who listens to what. Pure: no waiting, no clock.

    recent     the newest batches, to write again those that were lost with a connection
    backlog    what comes for sessions that have no connection, kept once for all of them
    bucket     an allowance of so many a second
    links      connections as sessions see them: batches out, answers out, a connect that is held
    session    one client's session
    watchers   who is told what happens to sessions
    registry   every session of this process, and who listens to what

A session lives from handshake to expiry and outlives its connections. It is in one of three states: *attached* to a
link that can be written to at any time (a WebSocket), with a *held* connect that can be answered once (a poll), or
neither, and then it expires. In the third state a session for which something waits *sleeps*: what comes after that is
kept once for all who sleep, so a publication costs the same however many they are.
"""
