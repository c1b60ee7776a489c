"""The server: records, the HTTP API, git over HTTP, the landing queue.  It never builds, lints or tests.

Start at `app.create`; `records` is what it remembers, `state.State` what its parts share while it runs.
"""
