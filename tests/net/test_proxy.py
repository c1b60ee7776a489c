"""The proxy variables mean what they mean to curl; loopback is never sent through one."""

from __future__ import annotations

import pytest

from fairlead.errors import UsageError
from fairlead.net import proxy, request
from fairlead.net import url as urls
from tests.net.web import Answer, Web


def chosen(url: str, **env: str) -> str | None:
    found = proxy.choose(urls.parse(url), env)
    return None if found is None else found.authority


def test_which_variable() -> None:
    assert chosen("http://h/", http_proxy="http://p:1") == "p:1"
    assert chosen("http://h/", http_proxy="p:1") == "p:1"
    assert chosen("http://h/", HTTP_PROXY="http://p:1") is None
    assert chosen("https://h/", http_proxy="http://p:1") is None
    assert chosen("https://h/", HTTPS_PROXY="http://p:1") == "p:1"
    assert chosen("https://h/", https_proxy="http://low:1", HTTPS_PROXY="http://p:1") == "low:1"
    assert chosen("https://h/", ALL_PROXY="http://all:1") == "all:1"
    assert chosen("https://h/") is None


@pytest.mark.parametrize(
    ("url", "exempt"),
    [
        ("http://a.example.com/", "example.com"),
        ("http://a.example.com/", ".example.com"),
        ("http://example.com/", "x, example.com"),
        ("http://example.com:8080/", "example.com:8080"),
        ("http://10.1.2.3/", "10.0.0.0/8"),
        ("http://10.1.2.3/", "10.1.2.3"),
        ("http://10.1.2.3:81/", "10.1.2.3:81"),
        ("http://[fd00::1]/", "fd00::/8"),
        ("http://any/", "*"),
        ("http://127.0.0.1/", ""),
        ("http://localhost:99/", ""),
        ("http://[::1]/", ""),
    ],
)
def test_exempt(url: str, exempt: str) -> None:
    assert chosen(url, http_proxy="http://p:1", no_proxy=exempt) is None


@pytest.mark.parametrize(
    ("url", "exempt"),
    [
        ("http://notexample.com/", "example.com"),
        ("http://example.com/", "example.com:8080"),
        ("http://11.1.2.3/", "10.0.0.0/8"),
        ("http://localhost.example.com/", "localhost"),
    ],
)
def test_not_exempt(url: str, exempt: str) -> None:
    assert chosen(url, http_proxy="http://p:1", NO_PROXY=exempt) == "p:1"


def test_unsupported_kind_names_the_variable_without_its_password() -> None:
    with pytest.raises(UsageError) as caught:
        chosen("https://h/", https_proxy="socks5://me:secret@p:1")
    assert "https_proxy" in caught.value.where
    assert "secret" not in str(caught.value)


def test_plain_http_through_a_proxy(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://me:pw@127.0.0.1:{web.port}")
    web.answers["http://host.test/file?x=1"] = Answer(body=b"through")
    assert request("GET", "http://host.test/file?x=1").body == b"through"
    asked = web.asked[0]
    assert asked.headers["host"] == "host.test"
    assert asked.headers["proxy-authorization"] == "Basic bWU6cHc="


def test_https_asks_the_proxy_for_a_tunnel(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"http://me:pw@127.0.0.1:{web.port}")
    web.answers["host.test:443"] = Answer(403)
    with pytest.raises(Exception, match="403"):
        request("GET", "https://host.test/file")
    asked = web.asked[0]
    assert (asked.method, asked.path) == ("CONNECT", "host.test:443")
    assert asked.headers["proxy-authorization"] == "Basic bWU6cHc="
