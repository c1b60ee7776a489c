"""Signing in and out, and accepting an invitation."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from fairlead.errors import FairleadError, UsageError
from fairlead.serve import auth, views
from fairlead.serve.pages import render
from fairlead.serve.pages.site import Ask, local
from fairlead.serve.records import people
from fairlead.serve.reply import status_of


def form(ask: Ask) -> Response:
    """The sign-in form."""
    back = local(ask.query.get("back", "/"))
    if ask.session is not None:
        return RedirectResponse(back, 303)
    return render.page("sign_in.html", ask.shell("Sign in"), views.SignInPage(back))


def enter(ask: Ask) -> Response:
    """The sign-in form was sent."""
    back, name = local(ask.form.get("back", "/")), ask.form.get("name", "").strip()
    try:
        person = auth.check_password(ask.state.records, name, ask.form.get("password", ""))
    except FairleadError as error:
        view = views.SignInPage(back, name, "", _sentence(error.what), _sentence(error.remedy))
        return render.page("sign_in.html", ask.shell("Sign in"), view, status=status_of(error))
    response = RedirectResponse(back, 303)
    auth.open_session(ask.state, person, response)
    return response


def leave(ask: Ask) -> Response:
    """The sign-out button."""
    response = RedirectResponse("/sign-in", 303)
    auth.close_session(ask.state, ask.request, response)
    return response


def invitation(ask: Ask) -> Response:
    """The form behind an invitation link."""
    name = _invited(ask)
    view = views.SignInPage("/", name, ask.path["code"], known=_known(ask, name))
    return render.page("sign_in.html", ask.shell("Welcome"), view)


def join(ask: Ask) -> Response:
    """The invitation is accepted: the account is made and its owner signed in."""
    name = _invited(ask)
    try:
        person, _token = auth.accept(ask.state.records, ask.path["code"], ask.form.get("password", ""), name)
    except FairleadError as error:
        view = views.SignInPage(
            "/", name, ask.path["code"], _sentence(error.what), _sentence(error.remedy), _known(ask, name)
        )
        return render.page("sign_in.html", ask.shell("Welcome"), view, status=status_of(error))
    response = RedirectResponse("/", 303)
    auth.open_session(ask.state, person, response)
    return response


def _known(ask: Ask, name: str) -> bool:
    """Whether there is such an account: then the link is one that sets another password."""
    with ask.state.records.read() as c:
        return people.by_name(c, name) is not None


def _invited(ask: Ask) -> str:
    """The name on the invitation; one that is spent is an error that says so."""
    with ask.state.records.read() as c:
        found = people.invitation_of(c, auth.hash_secret(ask.path["code"]))
    if found is None or found.used is not None:
        why = "was used already" if found else "is unknown"
        raise UsageError(
            f"this invitation {why}",
            remedy="if the account is yours, sign in; otherwise ask for a new invitation",
        )
    return found.name


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
