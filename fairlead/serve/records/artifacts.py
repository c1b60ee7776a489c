"""Questions about published files; the bytes lie in the data folder under their BLAKE3 digest."""

from __future__ import annotations

import time

from sqlalchemy import Connection, insert, select

from fairlead.serve.records.schema import artifact, person
from fairlead.serve.records.values import StoredArtifact


def add(c: Connection, *, digest: str, name: str, size: int, person_id: int) -> bool:
    """Record a published file; False if it was there already."""
    if get(c, digest, name) is not None:
        return False
    c.execute(
        insert(artifact).values(digest=digest, name=name, size=size, person_id=person_id, created=time.time())
    )
    return True


def get(c: Connection, digest: str, name: str) -> StoredArtifact | None:
    r = c.execute(
        select(artifact, person.c.name.label("person_name"))
        .join(person, person.c.id == artifact.c.person_id)
        .where(artifact.c.digest == digest, artifact.c.name == name)
    ).first()
    return StoredArtifact(r.digest, r.name, r.size, r.person_name, r.created) if r else None


def recent(c: Connection, limit: int = 50) -> list[StoredArtifact]:
    rows = c.execute(
        select(artifact, person.c.name.label("person_name"))
        .join(person, person.c.id == artifact.c.person_id)
        .order_by(artifact.c.created.desc())
        .limit(limit)
    )
    return [StoredArtifact(r.digest, r.name, r.size, r.person_name, r.created) for r in rows]
