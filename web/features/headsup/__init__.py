"""Heads-ups: a push with a word in a commit's message tells the people who must know, once, by mail, and shows why.

Pure, in the order of a push:
remark      what a commit's message tells, by a rule's words
pushes      a push as all forges mean it
payloads    the JSON of a delivery, and what is read of it
forges      a verifier and a reader for each forge
rules       which pushes a rule is about, and what it finds in one
recipients  addresses as somebody typed them
cutting     texts cut to a length
headsups    one push and one rule: what is told, and its mail
"""
