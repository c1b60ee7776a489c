"""Who is asking: invitations, passwords, tokens, sessions, and protection against forged requests.

People join by an invitation link and sign in with name and password; programs carry tokens.  Codes, tokens
and session cookies are 256 random bits, stored only as SHA-256: they cannot be guessed, so a slow hash
would buy nothing.  Passwords are scrypt (n=2^14, r=8, p=1: 16 MB and about 50 ms a try).

A token speaks for a person or for a worker, never both, and a worker's token has only the scope `worker`:
people cannot give verdicts, workers cannot review.  Only the cookie needs protection against requests
forged by other sites, because browsers send it by themselves: SameSite=Lax, then Sec-Fetch-Site or Origin
must say "same origin", then the form or header must carry the session's own token.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

from fairlead.errors import UsageError, WorkFailed
from fairlead.serve.records import Connection, Records, events, people
from fairlead.serve.records.values import Person, Session, Worker
from fairlead.serve.reply import Forbidden, NotSignedIn
from fairlead.serve.state import State

PERSON_SCOPES = frozenset({"git", "api", "publish"})
WORKER_SCOPES = frozenset({"worker"})
INVITATION_DAYS = 7
RESET_DAYS = 1
SESSION_DAYS = 30
ENROLMENT_SECONDS = 600
SHORTEST_PASSWORD = 8
LONGEST_PASSWORD = 1024
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"

_N, _R, _P = 1 << 14, 8, 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,38}")
_LONGEST_NAME = 40  # one more than a person's name may have
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class Caller:
    """Who made a request: a person or a worker, and how they showed it."""

    person: Person | None
    worker: Worker | None
    scopes: frozenset[str]
    session: Session | None = None

    def require(self, scope: str) -> None:
        """Refuse unless the credential has this scope."""
        if scope not in self.scopes:
            kind = "a worker's" if self.worker else "a person's"
            raise Forbidden(
                f"this is {kind} token with the scope {' '.join(sorted(self.scopes)) or 'nothing'}; "
                f"it may not do what needs the scope {scope}",
                remedy="workers give verdicts, people review and land: use the other one's token",
            )


# --- secrets -------------------------------------------------------------------------------------


def new_secret() -> str:
    """256 random bits as text that is safe in links and headers."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """What the records keep instead of a code, token or cookie."""
    return hashlib.sha256(secret.encode()).hexdigest()


def hash_password(password: str) -> str:
    """scrypt with its parameters and salt, as one word."""
    salt = secrets.token_bytes(16)
    made = hashlib.scrypt(password.encode(), salt=salt, n=_N, r=_R, p=_P, maxmem=64 << 20)
    return f"scrypt${_N}${_R}${_P}${_b64(salt)}${_b64(made)}"


def password_fits(password: str, encoded: str) -> bool:
    """Whether this is the password."""
    _, n, r, p, salt, made = encoded.split("$")
    again = hashlib.scrypt(
        password.encode(), salt=base64.b64decode(salt), n=int(n), r=int(r), p=int(p), maxmem=64 << 20
    )
    return hmac.compare_digest(again, base64.b64decode(made))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- joining and signing in ------------------------------------------------------------------------


def invite(records: Records, name: str, *, admin: bool = False) -> str:
    """Make an invitation for a new account called `name`; its code.  The first is an administrator's."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a person's name here",
            remedy="use up to 39 letters, digits, '.', '_' and '-', beginning with a letter or digit",
        )
    code = new_secret()
    with records.write() as c:
        if people.by_name(c, name) is not None:
            raise UsageError(f"{name} has an account already", remedy="invite under another name")
        first = people.count(c) == 0 and people.invitations_pending(c) == 0
        people.invite(c, hash_secret(code), name, admin or first, time.time() + INVITATION_DAYS * 86400)
    return code


def reset(records: Records, name: str) -> str:
    """Make a link's code with which the owner of an account chooses another password, once, within a day."""
    code = new_secret()
    with records.write() as c:
        known = people.by_name(c, name)
        if known is None:
            raise UsageError(
                f"nobody is called {name} here",
                remedy="`fairlead people list` says who there is",
            )
        people.invite(c, hash_secret(code), name, known.admin, time.time() + RESET_DAYS * 86400)
    return code


def accept(records: Records, code: str, password: str, name: str | None = None) -> tuple[Person, str]:
    """Spend an invitation: the new account and its first token.

    The code of a reset is an invitation to an account that is there: it gets the password, and all that was
    signed in with the old one, browsers and tokens, is signed out.
    """
    _check_password(password)
    encoded = hash_password(password)
    token = new_secret()
    with records.write() as c:
        invitation = people.invitation_of(c, hash_secret(code))
        if invitation is None or not people.use_invitation(c, hash_secret(code)):
            why = "was used already" if invitation and invitation.used else "is unknown or has expired"
            raise UsageError(
                f"this invitation {why}", remedy="ask for a new one: fairlead people invite NAME"
            )
        if name is not None and name != invitation.name:
            raise UsageError(
                f"this invitation is for {invitation.name}, not for {name}", remedy="leave the name out"
            )
        known = people.by_name(c, invitation.name)
        person = known or people.add(c, invitation.name, encoded, invitation.admin)
        if known is not None:
            people.set_password(c, known.id, encoded)
        people.add_token(
            c, hash_secret(token), person_id=person.id, scopes=PERSON_SCOPES, label="made with the account"
        )
    return person, token


def _check_password(password: str) -> None:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UsageError(
            f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters",
            remedy="choose one of several words",
        )


class Throttle:
    """Slows down guessing: after 5 wrong passwords a name waits, longer each time, up to a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wrong: dict[str, tuple[int, float]] = {}

    def check(self, name: str) -> None:
        name = name[:_LONGEST_NAME]
        with self._lock:
            count, last = self._wrong.get(name, (0, 0.0))
        left = last + min(60.0, 2.0 ** (count - 5)) - time.monotonic() if count >= 5 else 0.0
        if left > 0:
            raise Forbidden(
                "too many wrong passwords for this name",
                remedy=f"wait {int(left) + 1} seconds, then try again",
            )

    def record(self, name: str, right: bool) -> None:
        name = name[:_LONGEST_NAME]  # strangers send names of megabytes
        with self._lock:
            if right:
                self._wrong.pop(name, None)
                return
            if len(self._wrong) > 10_000:
                self._wrong.clear()
            self._wrong[name] = (self._wrong.get(name, (0, 0.0))[0] + 1, time.monotonic())


_throttle = Throttle()
_NOBODY = hash_password(new_secret())


def check_password(records: Records, name: str, password: str) -> Person:
    """The person, or NotSignedIn; takes as long for an unknown name as for a wrong password."""
    _throttle.check(name)
    with records.read() as c:
        encoded, person = people.password_of(c, name), people.by_name(c, name)
    right = password_fits(password[: LONGEST_PASSWORD + 1], encoded or _NOBODY)
    _throttle.record(name, right and person is not None)
    if not right or person is None:
        raise NotSignedIn(
            "name and password do not fit",
            remedy="check both; for a lost password the server's operator runs: fairlead people reset NAME",
        )
    return person


def make_token(
    records: Records, person: Person, scopes: Iterable[str], label: str, *, days: float | None = None
) -> str:
    """A new token for a person.  Scopes beyond a person's are refused."""
    wanted = frozenset(scopes)
    if not wanted or not wanted <= PERSON_SCOPES:
        extra = ", ".join(sorted(wanted - PERSON_SCOPES)) or "none"
        raise UsageError(
            f"a person's token has scopes out of {', '.join(sorted(PERSON_SCOPES))}; asked for: {extra}",
            remedy="workers get their token by registering",
        )
    token = new_secret()
    expires = None if days is None else time.time() + days * 86400
    with records.write() as c:
        people.add_token(
            c, hash_secret(token), person_id=person.id, scopes=wanted, label=label[:200], expires=expires
        )
    return token


def enrolment(records: Records) -> str:
    """A code with which one worker may register within ten minutes."""
    code = new_secret()
    with records.write() as c:
        people.add_enrolment(c, hash_secret(code), time.time() + ENROLMENT_SECONDS)
    return code


def register(records: Records, code: str, name: str, public_key: str) -> str:
    """Spend an enrolment code: register a worker, or give a known one (same name and key) a new token."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a worker's name", remedy="use letters, digits, '.', '_' and '-'"
        )
    token = new_secret()
    with records.write() as c:
        if not people.use_enrolment(c, hash_secret(code)):
            raise NotSignedIn(
                "this enrolment code is unknown, used or older than ten minutes",
                remedy="start the worker again with a fresh code",
            )
        worker = people.worker_by_name(c, name)
        if worker is None:
            known = next((one for one in people.workers(c) if one.public_key == public_key), None)
            if known is not None:
                state = ", which was revoked" if known.revoked else ""
                raise WorkFailed(
                    f"this key is that of the worker {known.name}{state}",
                    remedy="start with an empty state folder: a worker makes a key of its own there",
                )
            worker = people.add_worker(c, name, public_key)
            events.append(c, "worker.registered", {"worker": name})
        elif worker.public_key != public_key or worker.revoked is not None:
            raise WorkFailed(
                f"a worker called {name} is registered with another key",
                remedy="register under another name; old evidence is checked with the old key",
            )
        people.revoke_worker_tokens(c, worker.id)
        people.add_token(
            c, hash_secret(token), worker_id=worker.id, scopes=WORKER_SCOPES, label="made at registration"
        )
    return token


# --- sessions --------------------------------------------------------------------------------------


def cookie_name(state: State) -> str:
    """`__Host-` binds the cookie to host and https; on loopback http a browser would drop such a cookie."""
    return "__Host-fairlead" if state.secure else "fairlead"


def open_session(state: State, person: Person, response: Response) -> Session:
    """Sign a person in: remember the session and put its cookie on the response."""
    cookie, csrf = new_secret(), new_secret()
    expires = time.time() + SESSION_DAYS * 86400
    with state.records.write() as c:
        people.add_session(c, hash_secret(cookie), person.id, csrf, expires)
    response.set_cookie(
        cookie_name(state),
        cookie,
        max_age=SESSION_DAYS * 86400,
        path="/",
        secure=state.secure,
        httponly=True,
        samesite="lax",
    )
    return Session(person, csrf, expires)


def close_session(state: State, request: HTTPConnection, response: Response) -> None:
    """Sign out here: forget the session and drop its cookie."""
    cookie = request.cookies.get(cookie_name(state))
    if cookie:
        with state.records.write() as c:
            people.end_session(c, hash_secret(cookie))
    response.delete_cookie(cookie_name(state), path="/", secure=state.secure, httponly=True, samesite="lax")


def viewer(state: State, request: HTTPConnection) -> Session | None:
    """The session of a browser, by its cookie."""
    cookie = request.cookies.get(cookie_name(state))
    if not cookie:
        return None
    with state.records.read() as c:
        return people.session_of(c, hash_secret(cookie))


def check_origin(state: State, request: HTTPConnection) -> None:
    """Refuse a changing request that another site made this browser send."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in ("same-origin", "none"):
        raise Forbidden("this request came from another site", remedy="open the page here and try again")
    if origin is not None:
        own = urlsplit(state.url).netloc
        asked = request.headers.get("host", "")
        if urlsplit(origin).netloc not in (own, asked) or origin == "null":
            raise Forbidden("this request came from another site", remedy="open the page here and try again")
    elif site is None:
        raise Forbidden(
            "this request does not say which page it came from",
            remedy="use a browser that sends Origin or Sec-Fetch-Site; programs use a token",
        )


def check_csrf(state: State, request: HTTPConnection, session: Session, token: str | None) -> None:
    """Both protections of a changing request that a cookie allows: its origin, and the session's token."""
    check_origin(state, request)
    if token is None or not hmac.compare_digest(token.encode(), session.csrf.encode()):
        raise Forbidden(
            "the form is from an old session", remedy="load the page again, then send it once more"
        )


# --- every request ---------------------------------------------------------------------------------


def bearer(headers: Mapping[str, str]) -> str | None:
    """The secret of an Authorization header: Bearer, or the password part of Basic (git sends that)."""
    kind, _, rest = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return rest.strip() or None
    if kind.lower() == "basic":
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2] or None
        except (ValueError, UnicodeDecodeError):
            return None
    return None


def token_caller(c: Connection, secret: str) -> Caller:
    """Who a token speaks for, or NotSignedIn."""
    token = people.token_of(c, hash_secret(secret))
    if token is None:
        raise NotSignedIn(
            "this token is unknown, expired or revoked",
            remedy="sign in again: fairlead login URL --name NAME",
        )
    return Caller(token.person, token.worker, token.scopes)


def identify(state: State, request: HTTPConnection) -> Caller | None:
    """Who is asking, by token or else by cookie (then changes need the CSRF header); None for nobody."""
    secret = bearer(request.headers)
    if secret is not None:
        with state.records.read() as c:
            return token_caller(c, secret)
    if "authorization" in request.headers:
        raise NotSignedIn(
            "the Authorization header cannot be read", remedy="send: Authorization: Bearer TOKEN"
        )
    session = viewer(state, request)
    if session is None:
        return None
    if request.scope.get("method", "GET") not in _SAFE:
        check_csrf(state, request, session, request.headers.get(CSRF_HEADER))
    return Caller(session.person, None, frozenset({"api"}), session)
