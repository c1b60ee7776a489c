"""What a run really asked, and what its answer therefore depends on.

`supervisor.py` hears a program's file calls, `asked.py` is the list of them, `missing.py` says which of them
a test asked in vain; `source.py` digests Python source by blocks, and `dependencyset.py` is the record by
which a later tree is compared with the one that a test passed on.
"""
