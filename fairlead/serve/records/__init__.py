"""What the server remembers: one SQLite database, opened by `Records`.

`schema` holds the tables, `migrations` the numbered steps that make them, `database` the connections and
the one writer lock, `values` the frozen dataclasses that everything else reads.  Questions are plain typed
functions in modules named by their noun (`people`, `diffs`, `posts`, `queue`, `jobs`, `events`,
`artifacts`): each takes an open connection first, so that a caller decides what is one transaction.

    with records.read() as c:
        diff = diffs.get(c, 12)
    with records.write() as c:
        posts.add(c, ...); events.append(c, ...)

Times are seconds since 1970 (UTC, float).  People are named by their unique name in every value; ids stay
inside.  Nothing here knows HTTP or git.
"""

from fairlead.serve.records.database import Connection, Records

__all__ = ["Connection", "Records"]
