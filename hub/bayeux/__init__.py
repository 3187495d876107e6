"""The rules of Bayeux 1.0: a batch of messages in, an Outcome out. Never waits, reads no clock.

    names      the protocol's own channels and types of connection
    limits     what one client, and one address, may do
    asked      what fields of a message say
    outcome    a batch on its way through the rules, and what is left to do after them
    replies    advice, refusals, and the replies to held connects
    grants     what the tokens that clients show allow
    checks     whether a client may subscribe to what it asks for, in pieces where that takes long
    connecting, subscribing, publishing
               what each of the protocol's messages changes
    rules      the rules put together: a batch, message by message
    usual      a short way through them for the first messages of a client on a WebSocket

`Bayeux.receive` changes all the state that the messages change and returns the work that is left: replies to send,
drafts to publish, histories to read, a connect to hold. The node does that work; whatever happens to it (a cancelled
request, a broken broker), no state change is left half done.

Where Faye and CometD differ from the specification or from each other, the choice and its reason stand beside the rule.
"""
