"""The tables as they are now.  `migrations` makes them; a test holds the two equal.

Ids of posts are ULIDs, because clients link to them (`/D12#p-<id>`) and they sort by time.  Diffs are
numbered by the database (D1, D2, ...).  `event` is append-only and is the only thing machines follow; the
other tables are what people read.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

person = Table(
    "person",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("password", String, nullable=False),  # scrypt, encoded by serve.auth
    Column("admin", Boolean, nullable=False),
    Column("created", Float, nullable=False),
)

invitation = Table(
    "invitation",
    metadata,
    Column("code_hash", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("admin", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used", Float),
)

worker = Table(
    "worker",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("public_key", String, nullable=False),  # "ssh-ed25519 AAAA..."
    Column("registered", Float, nullable=False),
    Column("revoked", Float),
)

enrolment = Table(
    "enrolment",
    metadata,
    Column("code_hash", String, primary_key=True),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("used", Float),
)

token = Table(
    "token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hash", String, nullable=False, unique=True),
    Column("person_id", ForeignKey("person.id")),
    Column("worker_id", ForeignKey("worker.id")),
    Column("scopes", String, nullable=False),  # words separated by a space
    Column("label", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float),
    Column("revoked", Float),
)

session = Table(
    "session",
    metadata,
    Column("hash", String, primary_key=True),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("csrf", String, nullable=False),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
)

repo = Table(
    "repo",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("trunk", String, nullable=False),
    Column("created", Float, nullable=False),
)

diff = Table(
    "diff",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("diff_id", String, nullable=False),
    Column("repo_id", ForeignKey("repo.id"), nullable=False),
    Column("root_post", String, nullable=False),
    Column("author_id", ForeignKey("person.id"), nullable=False),
    Column("title", String, nullable=False),
    Column("state", String, nullable=False),
    Column("latest", Integer, nullable=False),  # number of the newest version
    Column("stack_parent", ForeignKey("diff.number")),
    Column("created", Float, nullable=False),
    Column("updated", Float, nullable=False),
    UniqueConstraint("repo_id", "diff_id"),
    Index("diff_updated", "updated"),
    Index("diff_stack_parent", "stack_parent"),
)

version = Table(
    "version",
    metadata,
    Column("diff", ForeignKey("diff.number"), primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("commit", String, nullable=False),
    Column("parent", String, nullable=False),
    Column("base", String, nullable=False),  # where the stack left the trunk
    Column("tree", String, nullable=False),
    Column("change", String, nullable=False),  # ship's change key
    Column("message", Text, nullable=False),
    Column("pusher_id", ForeignKey("person.id"), nullable=False),
    Column("created", Float, nullable=False),
    Index("version_commit", "commit"),
)

reviewer = Table(
    "reviewer",
    metadata,
    Column("diff", ForeignKey("diff.number"), primary_key=True),
    Column("person_id", ForeignKey("person.id"), primary_key=True),
    Column("verdict", String),  # accept | request | none yet
    Column("version", Integer),  # the version the verdict holds for; moves when an accept is carried
    Column("given_on", Integer),  # the version the verdict was given on
    Column("updated", Float, nullable=False),
)

post = Table(
    "post",
    metadata,
    Column("id", String, primary_key=True),
    Column("diff", ForeignKey("diff.number"), nullable=False),
    Column("parent", ForeignKey("post.id")),
    Column("author_id", ForeignKey("person.id")),  # none: the server itself
    Column("kind", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("version", Integer),
    Column("verdict", String),
    Column("data", Text, nullable=False),  # JSON: what a typed post carries (log digests, reasons)
    Column("created", Float, nullable=False),
    Index("post_diff", "diff", "id"),
)

anchor = Table(
    "anchor",
    metadata,
    Column("post", ForeignKey("post.id"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("side", String, nullable=False),  # old | new
    Column("path", String, nullable=False),
    Column("start", Integer, nullable=False),  # first line, from 1
    Column("end", Integer, nullable=False),  # last line, included
)

thread = Table(
    "thread",
    metadata,
    Column("post", ForeignKey("post.id"), primary_key=True),  # the first post of the thread
    Column("state", String, nullable=False),  # open | done | dropped
    Column("must_fix", Boolean, nullable=False),
    Column("updated", Float, nullable=False),
)

push_intent = Table(
    "push_intent",
    metadata,
    Column("id", String, primary_key=True),
    Column("repo_id", ForeignKey("repo.id"), nullable=False),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("payload", Text, nullable=False),  # JSON, serve.receive's plan
    Column("created", Float, nullable=False),
)

queue_entry = Table(
    "queue_entry",
    metadata,
    Column("n", Integer, primary_key=True),
    Column("repo_id", ForeignKey("repo.id"), nullable=False),
    Column("diff", ForeignKey("diff.number"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column(
        "state", String, nullable=False
    ),  # waiting | testing | landing | landed | refused | conflict | cancelled
    Column("base", String),
    Column("commit", String),
    Column("reasons", Text, nullable=False),  # JSON list of {code, text, subject}
    Column("created", Float, nullable=False),
    Column("finished", Float),
    Index("queue_entry_state", "state"),
    Index("queue_entry_diff", "diff"),
)

job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("entry", ForeignKey("queue_entry.n"), nullable=False),
    Column("kind", String, nullable=False),
    Column("payload", Text, nullable=False),  # JSON, what the worker is told
    Column("state", String, nullable=False),  # waiting | leased | done | broken | cancelled
    Column("worker_id", ForeignKey("worker.id")),
    Column("lease", Integer, nullable=False),  # how often it was leased: the fencing number
    Column("lease_until", Float),
    Column("created", Float, nullable=False),
    Column("finished", Float),
    Column("outcome", Text, nullable=False),  # JSON {what, where, remedy, log} when broken
    Index("job_state", "state"),
)

key_statement = Table(
    "key_statement",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", ForeignKey("job.id"), nullable=False),
    Column("role", String, nullable=False),  # base | candidate
    Column("commit", String, nullable=False),
    Column("payload", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("worker", String, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("job", "role"),
)

verdict = Table(
    "verdict",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("job", ForeignKey("job.id"), nullable=False),
    Column("label", String, nullable=False),
    Column("key", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("worker", String, nullable=False),
    Column("enforced", String, nullable=False),
    Column("log", String, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("payload", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("created", Float, nullable=False),
    Index("verdict_key", "key", "label"),
    Index("verdict_job", "job"),
)

land = Table(
    "land",
    metadata,
    Column("commit", String, primary_key=True),
    Column("repo_id", ForeignKey("repo.id"), nullable=False),
    Column("entry", ForeignKey("queue_entry.n"), nullable=False),
    Column("diff", ForeignKey("diff.number"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("base", String, nullable=False),
    Column("tree", String, nullable=False),
    Column("envelope", Text, nullable=False),  # DSSE JSON
    Column("state", String, nullable=False),  # intended | done
    Column("created", Float, nullable=False),
    Index("land_diff", "diff"),
)

artifact = Table(
    "artifact",
    metadata,
    Column("digest", String, primary_key=True),  # BLAKE3
    Column("name", String, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("person_id", ForeignKey("person.id"), nullable=False),
    Column("created", Float, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("kind", String, nullable=False),
    Column("diff", Integer),
    Column("payload", Text, nullable=False),  # JSON
    Column("created", Float, nullable=False),
    sqlite_autoincrement=True,  # a sequence number is never given twice, even if the last row is lost
)
