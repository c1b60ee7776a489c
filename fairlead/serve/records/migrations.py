"""Numbered steps from an empty database to the tables of `schema`.

A released step is never edited: a change of `schema` comes with a new step.  The number of the last
step taken is SQLite's `user_version`, so it is part of the transaction of the step.  A database made by a
newer Fairlead is refused rather than guessed at.
"""

from __future__ import annotations

from sqlalchemy import Connection

from fairlead.errors import MachineryError

FIRST = """
CREATE TABLE enrolment (
    code_hash VARCHAR NOT NULL, created FLOAT NOT NULL, expires FLOAT NOT NULL, used FLOAT,
    PRIMARY KEY (code_hash)
);
CREATE TABLE event (
    seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, kind VARCHAR NOT NULL, diff INTEGER,
    payload TEXT NOT NULL, created FLOAT NOT NULL
);
CREATE TABLE invitation (
    code_hash VARCHAR NOT NULL, name VARCHAR NOT NULL, admin BOOLEAN NOT NULL, created FLOAT NOT NULL,
    expires FLOAT NOT NULL, used FLOAT, PRIMARY KEY (code_hash)
);
CREATE TABLE person (
    id INTEGER NOT NULL, name VARCHAR NOT NULL, password VARCHAR NOT NULL, admin BOOLEAN NOT NULL,
    created FLOAT NOT NULL, PRIMARY KEY (id), UNIQUE (name)
);
CREATE TABLE repo (
    id INTEGER NOT NULL, name VARCHAR NOT NULL, trunk VARCHAR NOT NULL, created FLOAT NOT NULL,
    PRIMARY KEY (id), UNIQUE (name)
);
CREATE TABLE worker (
    id INTEGER NOT NULL, name VARCHAR NOT NULL, public_key VARCHAR NOT NULL, registered FLOAT NOT NULL,
    revoked FLOAT, PRIMARY KEY (id), UNIQUE (name)
);
CREATE TABLE artifact (
    digest VARCHAR NOT NULL, name VARCHAR NOT NULL, size INTEGER NOT NULL, person_id INTEGER NOT NULL,
    created FLOAT NOT NULL, PRIMARY KEY (digest, name), FOREIGN KEY(person_id) REFERENCES person (id)
);
CREATE TABLE diff (
    number INTEGER NOT NULL, diff_id VARCHAR NOT NULL, repo_id INTEGER NOT NULL,
    root_post VARCHAR NOT NULL, author_id INTEGER NOT NULL, title VARCHAR NOT NULL,
    state VARCHAR NOT NULL, latest INTEGER NOT NULL, stack_parent INTEGER, created FLOAT NOT NULL,
    updated FLOAT NOT NULL, PRIMARY KEY (number), UNIQUE (repo_id, diff_id),
    FOREIGN KEY(repo_id) REFERENCES repo (id), FOREIGN KEY(author_id) REFERENCES person (id),
    FOREIGN KEY(stack_parent) REFERENCES diff (number)
);
CREATE INDEX diff_stack_parent ON diff (stack_parent);
CREATE INDEX diff_updated ON diff (updated);
CREATE TABLE push_intent (
    id VARCHAR NOT NULL, repo_id INTEGER NOT NULL, person_id INTEGER NOT NULL, payload TEXT NOT NULL,
    created FLOAT NOT NULL, PRIMARY KEY (id), FOREIGN KEY(repo_id) REFERENCES repo (id),
    FOREIGN KEY(person_id) REFERENCES person (id)
);
CREATE TABLE session (
    hash VARCHAR NOT NULL, person_id INTEGER NOT NULL, csrf VARCHAR NOT NULL, created FLOAT NOT NULL,
    expires FLOAT NOT NULL, PRIMARY KEY (hash), FOREIGN KEY(person_id) REFERENCES person (id)
);
CREATE TABLE token (
    id INTEGER NOT NULL, hash VARCHAR NOT NULL, person_id INTEGER, worker_id INTEGER,
    scopes VARCHAR NOT NULL, label VARCHAR NOT NULL, created FLOAT NOT NULL, expires FLOAT,
    revoked FLOAT, PRIMARY KEY (id), UNIQUE (hash), FOREIGN KEY(person_id) REFERENCES person (id),
    FOREIGN KEY(worker_id) REFERENCES worker (id)
);
CREATE TABLE post (
    id VARCHAR NOT NULL, diff INTEGER NOT NULL, parent VARCHAR, author_id INTEGER, kind VARCHAR NOT NULL,
    body TEXT NOT NULL, version INTEGER, verdict VARCHAR, data TEXT NOT NULL, created FLOAT NOT NULL,
    PRIMARY KEY (id), FOREIGN KEY(diff) REFERENCES diff (number),
    FOREIGN KEY(parent) REFERENCES post (id), FOREIGN KEY(author_id) REFERENCES person (id)
);
CREATE INDEX post_diff ON post (diff, id);
CREATE TABLE queue_entry (
    n INTEGER NOT NULL, repo_id INTEGER NOT NULL, diff INTEGER NOT NULL, version INTEGER NOT NULL,
    person_id INTEGER NOT NULL, state VARCHAR NOT NULL, base VARCHAR, "commit" VARCHAR,
    reasons TEXT NOT NULL, created FLOAT NOT NULL, finished FLOAT, PRIMARY KEY (n),
    FOREIGN KEY(repo_id) REFERENCES repo (id), FOREIGN KEY(diff) REFERENCES diff (number),
    FOREIGN KEY(person_id) REFERENCES person (id)
);
CREATE INDEX queue_entry_diff ON queue_entry (diff);
CREATE INDEX queue_entry_state ON queue_entry (state);
CREATE TABLE reviewer (
    diff INTEGER NOT NULL, person_id INTEGER NOT NULL, verdict VARCHAR, version INTEGER,
    given_on INTEGER, updated FLOAT NOT NULL, PRIMARY KEY (diff, person_id),
    FOREIGN KEY(diff) REFERENCES diff (number), FOREIGN KEY(person_id) REFERENCES person (id)
);
CREATE TABLE version (
    diff INTEGER NOT NULL, n INTEGER NOT NULL, "commit" VARCHAR NOT NULL, parent VARCHAR NOT NULL,
    base VARCHAR NOT NULL, tree VARCHAR NOT NULL, change VARCHAR NOT NULL, message TEXT NOT NULL,
    pusher_id INTEGER NOT NULL, created FLOAT NOT NULL, PRIMARY KEY (diff, n),
    FOREIGN KEY(diff) REFERENCES diff (number), FOREIGN KEY(pusher_id) REFERENCES person (id)
);
CREATE INDEX version_commit ON version ("commit");
CREATE TABLE anchor (
    post VARCHAR NOT NULL, version INTEGER NOT NULL, side VARCHAR NOT NULL, path VARCHAR NOT NULL,
    start INTEGER NOT NULL, "end" INTEGER NOT NULL, PRIMARY KEY (post),
    FOREIGN KEY(post) REFERENCES post (id)
);
CREATE TABLE job (
    id INTEGER NOT NULL, entry INTEGER NOT NULL, kind VARCHAR NOT NULL, payload TEXT NOT NULL,
    state VARCHAR NOT NULL, worker_id INTEGER, lease INTEGER NOT NULL, lease_until FLOAT,
    created FLOAT NOT NULL, finished FLOAT, outcome TEXT NOT NULL, PRIMARY KEY (id),
    FOREIGN KEY(entry) REFERENCES queue_entry (n), FOREIGN KEY(worker_id) REFERENCES worker (id)
);
CREATE INDEX job_state ON job (state);
CREATE TABLE land (
    "commit" VARCHAR NOT NULL, repo_id INTEGER NOT NULL, entry INTEGER NOT NULL, diff INTEGER NOT NULL,
    version INTEGER NOT NULL, base VARCHAR NOT NULL, tree VARCHAR NOT NULL, envelope TEXT NOT NULL,
    state VARCHAR NOT NULL, created FLOAT NOT NULL, PRIMARY KEY ("commit"),
    FOREIGN KEY(repo_id) REFERENCES repo (id), FOREIGN KEY(entry) REFERENCES queue_entry (n),
    FOREIGN KEY(diff) REFERENCES diff (number)
);
CREATE INDEX land_diff ON land (diff);
CREATE TABLE thread (
    post VARCHAR NOT NULL, state VARCHAR NOT NULL, must_fix BOOLEAN NOT NULL, updated FLOAT NOT NULL,
    PRIMARY KEY (post), FOREIGN KEY(post) REFERENCES post (id)
);
CREATE TABLE key_statement (
    id INTEGER NOT NULL, job INTEGER NOT NULL, role VARCHAR NOT NULL, "commit" VARCHAR NOT NULL,
    payload TEXT NOT NULL, signature TEXT NOT NULL, worker VARCHAR NOT NULL, created FLOAT NOT NULL,
    PRIMARY KEY (id), UNIQUE (job, role), FOREIGN KEY(job) REFERENCES job (id)
);
CREATE TABLE verdict (
    id INTEGER NOT NULL, job INTEGER NOT NULL, label VARCHAR NOT NULL, "key" VARCHAR NOT NULL,
    outcome VARCHAR NOT NULL, worker VARCHAR NOT NULL, enforced VARCHAR NOT NULL, log VARCHAR NOT NULL,
    seconds FLOAT NOT NULL, payload TEXT NOT NULL, signature TEXT NOT NULL, created FLOAT NOT NULL,
    PRIMARY KEY (id), FOREIGN KEY(job) REFERENCES job (id)
);
CREATE INDEX verdict_job ON verdict (job);
CREATE INDEX verdict_key ON verdict ("key", label);
"""

STEPS: tuple[str, ...] = (FIRST,)


def apply(c: Connection) -> int:
    """Take the steps not yet taken, inside the caller's transaction; returns how many."""
    at = int(c.exec_driver_sql("PRAGMA user_version").scalar_one())
    if at > len(STEPS):
        raise MachineryError(
            f"a newer Fairlead made this data folder: its database is at step {at} of {len(STEPS)}",
            remedy="run the newer version, or restore the backup made before the upgrade",
        )
    for number, step in enumerate(STEPS[at:], start=at + 1):
        for statement in step.split(";"):
            if statement.strip():
                c.exec_driver_sql(statement)
        c.exec_driver_sql(f"PRAGMA user_version = {number}")
    return len(STEPS) - at
