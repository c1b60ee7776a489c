"""Errors as HTTP answers: one place decides the status of each kind of failure.

A client gets `{"what", "where", "remedy", "exit"}` as JSON; the command line prints it as if the failure had
happened at home.  Anything that is no FairleadError is a bug: it is logged, and the answer says so without
showing our insides.
"""

from __future__ import annotations

import logging

from starlette.responses import JSONResponse

from fairlead.errors import MACHINERY, FairleadError, MachineryError, UsageError, WorkFailed

log = logging.getLogger("fairlead.serve")


class NotSignedIn(UsageError):
    """No credential, or one that is unknown, expired or revoked."""


class Forbidden(UsageError):
    """A good credential that may not do this."""


class NotFound(UsageError):
    """No such diff, post, commit or file."""


class Gone(UsageError):
    """It was here, and was removed by age."""


class TooLarge(UsageError):
    """More bytes than the server takes."""


class TooSlow(UsageError):
    """The client kept the server waiting for longer than it waits."""


def status_of(error: FairleadError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, NotSignedIn):
        return 401
    if isinstance(error, Forbidden):
        return 403
    if isinstance(error, NotFound):
        return 404
    if isinstance(error, Gone):
        return 410
    if isinstance(error, TooLarge):
        return 413
    if isinstance(error, TooSlow):
        return 408
    if isinstance(error, MachineryError):
        full = "disk is full" in error.what or "No space left" in error.what
        return 507 if full else 503
    return 409 if isinstance(error, WorkFailed) else 400


def refusal(error: Exception) -> JSONResponse:
    """The answer that tells a program about an error."""
    if not isinstance(error, FairleadError):
        log.error("unexpected error", exc_info=error)
        error = FairleadError(
            "the server met an error it did not expect",
            remedy="this is a bug; the server's log has the details",
            exit=MACHINERY,
        )
        return JSONResponse(error.to_json(), 500)
    status = status_of(error)
    headers = {"WWW-Authenticate": 'Basic realm="Fairlead", charset="UTF-8"'} if status == 401 else {}
    return JSONResponse(error.to_json(), status, headers)
