"""The ship room: diffs, versions, approvals, the land rule, the queue and the evidence of what landed.

Everything here takes values and returns values. Git, the network, the clock and the database are the
business of `serve`, `worker` and `cli`, which gather facts, ask this room, and act on the answer.
"""
