"""What all pages share: the running server, who asks, the forms, and errors as pages.

A page is a plain function from `Ask` to an answer.  It runs in one of the server's few threads, because
records and git block; `Site.route` does the rest: sign-in, protection against forged forms, error pages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from fairlead.errors import FairleadError
from fairlead.serve import auth, views
from fairlead.serve.highlight import Highlighter
from fairlead.serve.pages import render
from fairlead.serve.records import Connection, diffs, events
from fairlead.serve.records.values import Hosted, Person, Session
from fairlead.serve.reply import Forbidden, NotFound, NotSignedIn, TooLarge, log, refusal, status_of
from fairlead.serve.state import State

SYSTEM = views.Person("Fairlead", system=True)


@dataclass(frozen=True)
class Ask:
    """One request for a page."""

    state: State
    highlighter: Highlighter
    request: Request
    session: Session | None
    path: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]

    @property
    def person(self) -> Person:
        """Who is signed in; pages that reach this have made sure that somebody is."""
        if self.session is None:
            raise NotSignedIn("you are not signed in")
        return self.session.person

    def shell(
        self,
        title: str,
        nav: str = "",
        *,
        c: Connection | None = None,
        live_url: str = "",
        topics: Sequence[str] = (),
    ) -> views.Shell:
        """The frame; with `c` the page is live from what that view of the records has seen."""
        return views.Shell(
            title=title,
            nav=nav,
            viewer=views.Person(self.session.person.name) if self.session else None,
            csrf=self.session.csrf if self.session else "",
            seq=events.latest(c) if c is not None else None,
            live_url=live_url,
            topics=topics,
        )


Page = Callable[[Ask], Response]


class Site:
    """The pages of one running server."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.highlighter = Highlighter()

    def route(self, path: str, page: Page, *methods: str, signed_in: bool = True) -> Route:
        """A route to a page."""

        async def endpoint(request: Request) -> Response:
            form: Mapping[str, str] = {}
            session: Session | None = None
            try:
                if request.method == "POST":
                    form = await self._form(request)
                session = await self.state.work(auth.viewer, self.state, request)
                ask = Ask(
                    self.state,
                    self.highlighter,
                    request,
                    session,
                    {key: str(value) for key, value in request.path_params.items()},
                    dict(request.query_params),
                    form,
                )
                return await self.state.work(self._answer, ask, page, signed_in)
            except Exception as error:  # the one place where a page's trouble becomes a page
                return await self.state.work(self.trouble, request, session, error)

        return Route(path, endpoint, methods=list(methods or ("GET",)))

    def _answer(self, ask: Ask, page: Page, signed_in: bool) -> Response:
        if signed_in and ask.session is None:
            if ask.request.method != "POST":
                return RedirectResponse(f"/sign-in?back={quote(_here(ask.request))}", 303)
            raise NotSignedIn(
                "you are not signed in any more", remedy="sign in, then send it again; it is kept"
            )
        if ask.request.method == "POST":
            if ask.session is not None:
                auth.check_csrf(self.state, ask.request, ask.session, ask.form.get(auth.CSRF_FIELD))
            else:
                auth.check_origin(self.state, ask.request)
        return page(ask)

    async def _form(self, request: Request) -> dict[str, str]:
        """The fields of a form, read up to a limit.  Forms here carry no files, so one encoding will do."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Forbidden("this is not how the pages' forms are sent", remedy="use the form on the page")
        most = 4 * self.state.limits.post + 4096  # percent-encoding makes up to three bytes of one
        data = bytearray()
        async for part in request.stream():
            data += part
            if len(data) > most:
                kept = self.state.limits.post >> 10
                raise TooLarge(
                    f"a post has at most {kept} KB", remedy="put long text into a file of the change"
                )
        fields = parse_qsl(data.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=50)
        return {name: value.replace("\r\n", "\n") for name, value in fields}

    def trouble(self, request: Request, session: Session | None, error: Exception) -> Response:
        """An error as a page: what, where, remedy."""
        if not isinstance(error, FairleadError):
            log.error("unexpected error on %s", request.url.path, exc_info=error)
            view = views.ErrorPage(
                500,
                "The server met an error it did not expect",
                request.url.path,
                "This is a bug. The server's log has the details; what you wrote is kept in your browser.",
            )
        else:
            view = views.ErrorPage(
                status_of(error), _sentence(error.what), error.where, _sentence(error.remedy) + "."
                if error.remedy else "",
            )  # fmt: skip
        if view.status == 401:
            place = _here(request) if request.method != "POST" else _referrer(request) or "/"
            view = views.ErrorPage(
                401, view.what, view.where, view.remedy, f"/sign-in?back={quote(place)}", "Sign in"
            )
        elif request.method == "POST" and (back := _referrer(request)):
            view = views.ErrorPage(view.status, view.what, view.where, view.remedy, back, "Go back")
        shell = views.Shell(
            title=view.what,
            viewer=views.Person(session.person.name) if session else None,
            csrf=session.csrf if session else "",
        )
        return render.page("error.html", shell, view, status=view.status)

    async def nowhere(self, request: Request) -> Response:
        """Every other address: a page for people, JSON for programs."""
        error = NotFound("there is nothing at this address", where=request.url.path)
        if "text/html" not in request.headers.get("accept", ""):
            return refusal(error)
        session = await self.state.work(auth.viewer, self.state, request)
        return await self.state.work(self.trouble, request, session, error)


def whole(text: str, what: str) -> int:
    """A number out of an address; anything else is NotFound, in words about `what` it should name."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise NotFound(
            f"there is no {what}{text[:20]}", remedy="follow a link from the feed or from a diff's page"
        )
    return int(text)


def the_repo(c: Connection) -> Hosted:
    """The repository that the pages show: this release of the server hosts one."""
    hosted = diffs.repos(c)
    if not hosted:
        raise NotFound(
            "this server hosts no repository yet", remedy="start it with: fairlead serve --repo NAME"
        )
    return hosted[0]


def local(address: str) -> str:
    """`address` if it is a place on this server, else "/": nobody is sent elsewhere by a link to us."""
    parts = urlsplit(address)
    safe = (
        address.startswith("/")
        and not address.startswith(("//", "/\\"))
        and not parts.netloc
        and not parts.scheme
        and all(32 < ord(character) < 127 for character in address)
    )
    return address if safe else "/"


def _here(request: Request) -> str:
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _referrer(request: Request) -> str:
    """The page a form was sent from, if it was one of ours."""
    parts = urlsplit(request.headers.get("referer", ""))
    return local(parts.path + (f"?{parts.query}" if parts.query else "")) if parts.path else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
