"""Work for later, as rows: written in the save's transaction, done by whichever worker is free.

kinds    what a feature declares: kinds of jobs, periodic jobs, what a handler is given and may raise
rows     the tables and their statements
hints    wakes the workers of other processes
queue    adds jobs to a session's transaction
runner   takes them, does them, writes down what became of them
pools    threads and processes for what would block the event loop
metrics  jobs for /metrics

What is promised: a job whose transaction was committed is done at least once, whatever is killed meanwhile, or is given
up and kept with its error. Never twice at once, while its worker keeps its lease. Exactly once for what a handler
writes inside `job.saving()`: that commit ends the job too.
"""
