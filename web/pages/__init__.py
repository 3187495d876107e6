"""What views are made with. Knows no feature.

settings    how pages ask by themselves, the site's own address
keys        where the application keeps its parts
requests    reading forms, answering in the form that was asked for
limits      how often somebody may do something
templating  what every template may use; `render`
parts       pieces of the home page, from features that have another
links       the navigation, from what features hand in
charts      charts as SVG, of plain numbers
sorting     tables that are sorted by links
assets      static files: versions, integrity, caching
kept        what was made from rows, kept by the positions of its channels
page        pages that are kept; `answer`
wrote       a browser finds what it has changed, at whichever worker
markdown    what strangers write, made into HTML; comments' share of it
encodings   packed forms: which, and made
"""
