"""How well tests are selected: edits of foreign projects, an oracle, and what was missed or run for nothing.

`scripts/edits` is the command. Everything here asks Fairlead by its command line alone.
"""
