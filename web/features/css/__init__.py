"""The CSS that a page uses, and no more: its style sheets go into it, pruned, one `<style>` where each stood.

`inline.inline` is the function to call; `fanfare css` the command; docs/css.md says what is promised. The rule is that
the computed styles of every element stay as they were, in all media, states and widths: what can't be judged is kept
whole, and a page that can't be is left as it was, with a word why.
"""
