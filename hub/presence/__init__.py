"""Who is in which channel, over all workers: the rules. Pure; the time is given. `reporter` is the part that waits.

    pace         the times that all of it goes by
    reports      what workers write to each other, and how a long report is cut into parts
    here         who is with this worker, and what of that must still be reported
    everywhere   who is with any worker, from all their reports, and what this one must publish of it
    worker       one worker's part in all this: reports in, reports and events out

Each worker knows who is with it (`Here`) and reports what changes to a meta channel of the log, `/meta/presence`. All
workers read all reports in the same order, so all have the same picture of the whole (`Everywhere`). For each channel
one worker *leads*, chosen by a rule that all of them compute alike: it publishes what changed there as events, at most
one a tick, and so in order. When workers come or go, a channel's new leader repeats the recent changes. So an event may
come twice; a "joined" that is repeated changes nothing.

A report is a JSON object with `worker`, the name of the worker that reports, and one of

    hello: true              the worker starts, or may have missed reports: everybody answers with a snapshot
    channels: {name: [count, joined, left]}
                             what changed at the worker since its last report; {} is a sign of life
    snapshot: {name: [count, users]}, more: bool
                             everybody who is with the worker, in parts; the last part has no `more`
    moved: [session ids]     sessions of other workers that go on at this one
    gone: name               that worker is gone, and nobody is with it; the first such report counts
    bye: true                the worker is about to stop: nobody is connected to it, its users may come back elsewhere

A user who leaves a worker stays in its reports for `Pace.leave` seconds. So a page reload, or a session that goes on at
another worker, changes nothing, and a user who has left everywhere is announced as soon as the last of these times has
run out, at whichever worker. A worker that says nothing for `Pace.silence` seconds is reported as gone. The seconds are
counted by how far the log carries our own reports. If that worker is alive after all, it reads this and reports anew.

Where much changes at once, reports and events go out in pieces (`PIECE` channels each), and later changes queue behind
them. What is said of a channel is its state at the moment it is said. A snapshot in pieces is complete all the same:
changes in channels that it has already named are reported after it.
"""
