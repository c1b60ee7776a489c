"""Addresses: what is read, what is refused, and that no secret is ever printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.net import url as urls


def test_parts_and_defaults() -> None:
    url = urls.parse("https://someone:p%40ss@Example.com/a b".replace(" ", "%20") + "?q=1#part")
    assert (url.scheme, url.host, url.port, url.target) == ("https", "example.com", 443, "/a%20b?q=1")
    assert (url.user, url.password) == ("someone", "p@ss")
    assert urls.parse("http://h").target == "/"
    assert urls.parse("http://[::1]:8080/x").authority == "[::1]:8080"
    assert urls.parse("http://h:80/x").authority == "h"
    assert urls.parse("http://h/ü?ö").target == "/%C3%BC?%C3%B6"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://h/a b", "blank"),
        ("http://h/a\r\nX: y", "control character"),
        ("ftp://h/a", "scheme `ftp`"),
        ("just/a/path", "no scheme"),
        ("https:///path", "no host"),
        ("http://h:99999/", "cannot be read"),
        ("http://h:port/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        urls.parse(text)
    assert said in caught.value.what


def test_redirect_targets() -> None:
    base = urls.parse("https://h:8443/a/b?c=d")
    assert base.join("../x").sent == "https://h:8443/x"
    assert base.join("//other/y").sent == "https://other/y"
    assert base.join("?z").sent == "https://h:8443/a/b?z"


def test_redacted_keeps_what_helps() -> None:
    assert urls.redact("https://u:pw@h/p/q?X-Signature=abc&v=2#frag") == "https://h/p/q?X-Signature=…&v=…"
    assert urls.redact("https://h/p") == "https://h/p"
    assert urls.redact("https://h/p?token") == "https://h/p?…"


@given(
    user=st.from_regex(r"[a-z]{6,12}", fullmatch=True),
    password=st.from_regex(r"[A-Z0-9%:@]{6,20}", fullmatch=True),
    value=st.from_regex(r"[0-9]{8,20}", fullmatch=True),
)
def test_no_secret_is_printed(user: str, password: str, value: str) -> None:
    text = f"https://{user}:{password}@host.test/path?key={value}"
    shown = urls.redact(text)
    assert shown == "https://host.test/path?key=…"
    assert str(urls.parse(text)) == repr(urls.parse(text))[5:-2] == shown


@given(st.text())
def test_redact_never_fails(text: str) -> None:
    assert urls.redact(text).isprintable()
