"""Search: what readers meant, why it was found, and never behind.

tokens      a text as words, names, versions; folded and stemmed
asked       what a reader asks
spelling    what they may have meant
vocabulary  the words of an index, and which are near to another
blend       one query of all that
entries     a document as it is in an index
engine      what an index can do; embedded: without a server
indexer     keeps it in step with the rows
finder      from a reader's text to results; highlights, reasons: what is said of them
service     the parts put together
views       the pages
"""
