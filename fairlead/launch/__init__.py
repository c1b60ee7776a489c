"""Pinned executables: DotSlash files parsed, fetched, verified, run and published.

`execute.run` is the way in for running, `publish.publish` for publishing; `manifest` and `cache` are the pure
part. Nothing is imported here, so that running a warm tool loads only what it needs.
"""
