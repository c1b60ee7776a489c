"""The worker: runs what other people submitted, apart from the server, and signs what it saw.

    job         what the server asks for, as a value
    server      the worker's side of the HTTP API
    state       the worker's own folder: name, token, repository, store, work trees
    checkout    commits of the server as folders
    candidate   one job from its commits to its signed verdicts
    supervisor  leases jobs, runs each in a process of its own with limits, heartbeats, finishes

Two borders keep a submitted commit away from the worker's key and the server. Its code (BUCK files,
actions, tests) runs only inside the build room's sandbox; and the process that reads what comes out
of there lives for one job. What a signature says was computed by this package alone.
"""
