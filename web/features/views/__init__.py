"""Who called what: requests that no browser's script counts, by endpoint, status, duration and kind of caller.

A view is counted in this process, waits for a second, and is added to the database's sums with all others of that
second. Of who called only what lasts a day is kept: never an address, a query or a token. What may be told to an
analytics service goes to it from a bounded queue, which no request waits for.

Pure: kinds, callers, buckets, totals, records, endpoints, logs, receipts, breaker, and what each target is sent.
"""
