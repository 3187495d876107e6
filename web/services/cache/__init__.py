"""What was made of rows and is costly, kept in memory and in Redis until its channels say that something changed.

cache     the cache: `await cache.get(key, tags, make)`
local     what this process keeps
far       what all workers keep, in Redis
entries   what an entry in Redis says of itself, and whether it is still good
codecs    serializers and compressors by name
errors    what goes wrong
settings  its settings
metrics   its figures
"""
