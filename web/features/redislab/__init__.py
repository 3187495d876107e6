"""The Redis laboratory: which serializer, compressor and client is the fastest, on your own data.

configurations  what is compared
payloads        what is stored and read
figures         what the numbers say: averages, intervals, who wins, the Pareto front. Pure
summary         the text table with its bars. Pure
records         measurements as they are kept in Redis
bench           measures: the one place that waits for Redis with a clock in its hand
worker          the process in which the site measures
service         the worker as the site uses it
pages           /lab/redis and what is below it
commands, cli   fanfare lab redis
"""
