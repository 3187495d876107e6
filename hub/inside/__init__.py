"""The hub seen from inside: what it is doing now, what it did, and what became of one message or one client.

A sample is taken once a second, of numbers that are counted anyway, and kept in a ring of a fixed size; the rest is
worked out when somebody looks. `Inside` is the part that waits; sites look through it too.

fields     what a sample has in it
trail      where batches went, for longer than they are kept
ring       samples, in a fixed number of bytes
sampling   makes a sample from counters
looking    what one worker finds: hot channels, slow clients, a client's world, a message's way
fleet      questions to all workers
insider    Inside: samples one process's hub, and answers for all workers
"""
