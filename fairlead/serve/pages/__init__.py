"""The web pages: server-rendered, typed, and complete without JavaScript.

    routes(state) -> all routes of the pages, the last of which answers every address that nothing else does

One file a page: `feed`, `diff` (with `change`, `conversation` and `raw`), `queue`, `commit`, `log`,
`sign_in`.  `site` is what they share, `render` the templates and static files.  Templates get view models
(`fairlead.serve.views`) and nothing else.  Live pages are the same pages asked for again: `static/page.js`
compares the fresh page with what is shown when the event stream says that something happened.
"""

from __future__ import annotations

from starlette.routing import BaseRoute, Route

from fairlead.serve.pages import commit, diff, feed, log, queue, raw, render, sign_in
from fairlead.serve.pages.site import Site
from fairlead.serve.state import State

__all__ = ["routes"]


def routes(state: State) -> list[BaseRoute]:
    """All routes of the pages; they come last in the application."""
    site = Site(state)
    return [
        site.route("/", feed.show),
        site.route("/D{number}", diff.show),
        site.route("/D{number}/v{n}", diff.show),
        site.route("/D{number}/v{n}/raw/{key}", raw.show),
        site.route("/D{number}/posts", diff.say, "POST"),
        site.route("/D{number}/threads", diff.settle, "POST"),
        site.route("/D{number}/land", diff.land, "POST"),
        site.route("/D{number}/dequeue", diff.dequeue, "POST"),
        site.route("/queue", queue.show),
        site.route("/commits", commit.index),
        site.route("/commits/{oid}", commit.show),
        site.route("/logs/{digest}", log.show),
        site.route("/sign-in", sign_in.form, signed_in=False),
        site.route("/sign-in", sign_in.enter, "POST", signed_in=False),
        site.route("/sign-out", sign_in.leave, "POST"),
        site.route("/invite/{code}", sign_in.invitation, signed_in=False),
        site.route("/invite/{code}", sign_in.join, "POST", signed_in=False),
        Route("/static/{name}", render.static),
        Route("/{path:path}", site.nowhere),
    ]
