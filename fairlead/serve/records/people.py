"""Questions about who may do what: people, invitations, workers, tokens and sessions.

Secrets never come in here: codes, tokens and session cookies are stored as SHA-256 by `serve.auth`
(they are random and long, so a slow hash would add nothing), passwords as scrypt.
"""

from __future__ import annotations

import time

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from fairlead.serve.records.database import new_key
from fairlead.serve.records.schema import enrolment, invitation, person, session, token, worker
from fairlead.serve.records.values import Invitation, Person, Session, Token, Worker


def _person(r: Row) -> Person:  # type: ignore[type-arg]
    return Person(r.id, r.name, r.admin, r.created)


def _worker(r: Row) -> Worker:  # type: ignore[type-arg]
    return Worker(r.id, r.name, r.public_key, r.registered, r.revoked)


def add(c: Connection, name: str, password: str, admin: bool) -> Person:
    """Make an account; `password` is already encoded."""
    now = time.time()
    done = c.execute(insert(person).values(name=name, password=password, admin=admin, created=now))
    return Person(new_key(done), name, admin, now)


def by_name(c: Connection, name: str) -> Person | None:
    row = c.execute(select(person).where(person.c.name == name)).first()
    return _person(row) if row else None


def by_id(c: Connection, number: int) -> Person | None:
    row = c.execute(select(person).where(person.c.id == number)).first()
    return _person(row) if row else None


def everyone(c: Connection) -> list[Person]:
    return [_person(r) for r in c.execute(select(person).order_by(person.c.name))]


def count(c: Connection) -> int:
    return int(c.execute(select(func.count()).select_from(person)).scalar_one())


def password_of(c: Connection, name: str) -> str | None:
    """The encoded password, for `serve.auth` alone."""
    return c.execute(select(person.c.password).where(person.c.name == name)).scalar_one_or_none()


def set_password(c: Connection, person_id: int, password: str) -> None:
    """Another password, already encoded; whoever was signed in with the old one is so no longer."""
    c.execute(update(person).where(person.c.id == person_id).values(password=password))
    c.execute(delete(session).where(session.c.person_id == person_id))
    c.execute(
        update(token)
        .values(revoked=time.time())
        .where(token.c.person_id == person_id, token.c.revoked.is_(None))
    )


def invite(c: Connection, code_hash: str, name: str, admin: bool, expires: float) -> None:
    """Record an invitation; an older unused one for the same name stops working."""
    c.execute(delete(invitation).where(invitation.c.name == name, invitation.c.used.is_(None)))
    c.execute(
        insert(invitation).values(
            code_hash=code_hash, name=name, admin=admin, created=time.time(), expires=expires
        )
    )


def invitation_of(c: Connection, code_hash: str) -> Invitation | None:
    r = c.execute(select(invitation).where(invitation.c.code_hash == code_hash)).first()
    return Invitation(r.name, r.admin, r.expires, r.used) if r else None


def invitations_pending(c: Connection) -> int:
    """How many invitations are unused (expired ones too)."""
    return int(
        c.execute(
            select(func.count()).select_from(invitation).where(invitation.c.used.is_(None))
        ).scalar_one()
    )


def use_invitation(c: Connection, code_hash: str) -> bool:
    """Mark it used; False if it was already used or has expired (then nothing changed)."""
    now = time.time()
    done = c.execute(
        update(invitation)
        .values(used=now)
        .where(invitation.c.code_hash == code_hash, invitation.c.used.is_(None), invitation.c.expires > now)
    )
    return done.rowcount == 1


def add_token(
    c: Connection,
    code_hash: str,
    *,
    person_id: int | None = None,
    worker_id: int | None = None,
    scopes: frozenset[str],
    label: str,
    expires: float | None = None,
) -> int:
    done = c.execute(
        insert(token).values(
            hash=code_hash,
            person_id=person_id,
            worker_id=worker_id,
            scopes=" ".join(sorted(scopes)),
            label=label,
            created=time.time(),
            expires=expires,
        )
    )
    return new_key(done)


def token_of(c: Connection, code_hash: str) -> Token | None:
    """The live token with this hash: not revoked, not expired, its worker not revoked."""
    r = c.execute(select(token).where(token.c.hash == code_hash, token.c.revoked.is_(None))).first()
    if r is None or (r.expires is not None and r.expires <= time.time()):
        return None
    who = by_id(c, r.person_id) if r.person_id is not None else None
    program = worker_by_id(c, r.worker_id) if r.worker_id is not None else None
    if program is not None and program.revoked is not None:
        return None
    return Token(r.id, who, program, frozenset(r.scopes.split()), r.label, r.created, r.expires)


def tokens_for(c: Connection, person_id: int) -> list[Token]:
    who = by_id(c, person_id)
    rows = c.execute(
        select(token).where(token.c.person_id == person_id, token.c.revoked.is_(None)).order_by(token.c.id)
    )
    return [Token(r.id, who, None, frozenset(r.scopes.split()), r.label, r.created, r.expires) for r in rows]


def revoke_token(c: Connection, number: int, person_id: int) -> bool:
    done = c.execute(
        update(token)
        .values(revoked=time.time())
        .where(token.c.id == number, token.c.person_id == person_id, token.c.revoked.is_(None))
    )
    return done.rowcount == 1


def add_session(c: Connection, code_hash: str, person_id: int, csrf: str, expires: float) -> None:
    """Open a session and drop those that have ended."""
    now = time.time()
    c.execute(delete(session).where(session.c.expires <= now))
    c.execute(
        insert(session).values(hash=code_hash, person_id=person_id, csrf=csrf, created=now, expires=expires)
    )


def session_of(c: Connection, code_hash: str) -> Session | None:
    r = c.execute(select(session).where(session.c.hash == code_hash, session.c.expires > time.time())).first()
    who = by_id(c, r.person_id) if r else None
    return Session(who, r.csrf, r.expires) if r and who else None


def end_session(c: Connection, code_hash: str) -> None:
    c.execute(delete(session).where(session.c.hash == code_hash))


def add_enrolment(c: Connection, code_hash: str, expires: float) -> None:
    c.execute(insert(enrolment).values(code_hash=code_hash, created=time.time(), expires=expires))


def use_enrolment(c: Connection, code_hash: str) -> bool:
    """Spend a one-time enrolment code; False if unknown, spent or expired."""
    now = time.time()
    done = c.execute(
        update(enrolment)
        .values(used=now)
        .where(enrolment.c.code_hash == code_hash, enrolment.c.used.is_(None), enrolment.c.expires > now)
    )
    return done.rowcount == 1


def add_worker(c: Connection, name: str, public_key: str) -> Worker:
    now = time.time()
    done = c.execute(insert(worker).values(name=name, public_key=public_key, registered=now))
    return Worker(new_key(done), name, public_key, now, None)


def worker_by_id(c: Connection, number: int) -> Worker | None:
    row = c.execute(select(worker).where(worker.c.id == number)).first()
    return _worker(row) if row else None


def worker_by_name(c: Connection, name: str) -> Worker | None:
    row = c.execute(select(worker).where(worker.c.name == name)).first()
    return _worker(row) if row else None


def workers(c: Connection) -> list[Worker]:
    """All workers ever registered, revoked ones too (old evidence names them)."""
    return [_worker(r) for r in c.execute(select(worker).order_by(worker.c.name))]


def registered_workers(c: Connection) -> frozenset[str]:
    """Names of the workers whose verdicts count now."""
    return frozenset(worker.name for worker in workers(c) if worker.revoked is None)


def revoke_worker(c: Connection, name: str) -> bool:
    done = c.execute(
        update(worker).values(revoked=time.time()).where(worker.c.name == name, worker.c.revoked.is_(None))
    )
    return done.rowcount == 1


def revoke_worker_tokens(c: Connection, worker_id: int) -> None:
    c.execute(
        update(token)
        .values(revoked=time.time())
        .where(token.c.worker_id == worker_id, token.c.revoked.is_(None))
    )
