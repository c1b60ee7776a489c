"""The pages of a real server over HTTP, as a browser without JavaScript asks for them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fairlead.serve import auth
from fairlead.serve.pages.change import line_id
from fairlead.serve.pages.site import local
from tests.serve_pages.house import PASSWORD, Form, House

CODE = "".join(f"def f{n}(x):\n    return x + {n}\n\n\n" for n in range(12))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house with a stack of two diffs, D1 and D2, on a trunk of one commit."""
    house = House(tmp_path_factory.mktemp("house"))
    try:
        house.commit("Lay the ground", {"a.py": CODE})
        house.push("refs/heads/main")
        house.commit("Add <b>one</b> & \u202etwo", {"a.py": CODE.replace("x + 5", "x + 50")}, "See *this*.")
        house.commit("Add b", {"b.py": "import a\n"})
        house.push()
        yield house
    finally:
        house.close()


def words(page: str) -> str:
    """What a person reads."""
    bare = re.sub(r"<(head|template)\b.*?</\1>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", bare)).split())


def test_nobody_sees_a_page_without_signing_in(told: House) -> None:
    stranger = told.browser(None)
    for path in ("/", "/D1", "/D1/v1", "/queue", "/commits", "/logs/" + "0" * 64):
        answer = stranger.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/sign-in?back={path}")
    answer = stranger.submit("/D1/posts", {"body": "hello"})
    assert answer.status_code == 401
    assert "hello" not in words(told.browser().page("/D1"))


def test_signing_in_leads_back_and_nowhere_else(told: House) -> None:
    for back, goes in (
        ("/D1", "/D1"),
        ("//evil.example", "/"),
        ("https://evil.example", "/"),
        ("/\\evil.example", "/"),
    ):
        answer = told.browser(None).submit("/sign-in", {"name": "author", "password": PASSWORD, "back": back})
        assert (answer.status_code, answer.headers["location"]) == (303, goes)
    assert local("/a?b=c") == "/a?b=c" and local("/a\nb") == "/" and local("a") == "/"


def test_a_wrong_password_says_so_and_keeps_the_name(told: House) -> None:
    answer = told.browser(None).submit("/sign-in", {"name": "auth<or", "password": "wrong horse"})
    assert answer.status_code == 401
    assert "Name and password do not fit" in answer.text and 'value="auth&lt;or"' in answer.text


def test_an_invitation_makes_an_account_once(told: House) -> None:
    code = auth.invite(told.state.records, "newcomer")
    client = told.browser(None)
    assert "You are invited as newcomer" in words(client.page(f"/invite/{code}"))
    short = client.submit(f"/invite/{code}", {"password": "short"})
    assert short.status_code == 400 and "8 to 1024 characters" in short.text
    answer = client.submit(f"/invite/{code}", {"password": PASSWORD})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "Signed in as newcomer" in words(client.page("/"))
    again = told.browser(None).get(f"/invite/{code}")
    assert again.status_code == 400 and "was used already" in again.text


def test_signing_out_ends_the_session(told: House) -> None:
    client = told.browser()
    cookies = dict(client.cookies)
    assert client.submit("/sign-out", {}).status_code == 303
    again = Form(told.url)
    again.cookies.update(cookies)
    assert again.get("/").status_code == 303


def test_the_feed_shows_the_stack_and_whose_turn_it_is(told: House) -> None:
    read = words(told.browser().page("/"))
    assert "Your turn 2" in read and "Needs a review; you have given none yet" in read
    assert "2 diffs in a stack on main" in read
    assert "Nothing waits for you." in words(told.browser("author").page("/"))


def test_titles_and_messages_are_text(told: House) -> None:
    for path in ("/", "/D1", "/queue", "/commits"):
        page = told.browser().page(path)
        assert "<b>one</b>" not in page and "\u202e" not in page
    page = told.browser().page("/D1")
    assert "&lt;b&gt;one&lt;/b&gt;" in page and "U+202E RLO" in page and "<em>this</em>" in page
    assert "Diff-Id" not in words(page)


def test_the_diff_page_has_its_lines(told: House) -> None:
    page = told.browser().page("/D1")
    row = line_id("a.py", "new", 22)
    assert f'<tr id="{row}" class="add">' in page and f'href="?at={row}#{row}"' in page
    assert "<mark>50</mark>" in page.replace('<mark><span class="m">50</span></mark>', "<mark>50</mark>")
    assert "Accept" in words(page)
    assert "Accept" not in words(told.browser("author").page("/D1")).partition("Say something")[2]


def test_a_comment_on_a_line_without_javascript(told: House) -> None:
    reviewer = told.browser()
    row = line_id("a.py", "new", 22)
    page = reviewer.page(f"/D1?at={row}")
    form = page[page.index('id="compose"') : page.index("</form>", page.index('id="compose"'))]
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    answer = reviewer.submit("/D1/posts", {**fields, "body": "Why **fifty**?"})
    assert answer.status_code == 303, answer.text
    place, _, anchor = answer.headers["location"].partition("#")
    page = reviewer.page(place)
    assert f'id="{anchor}"' in page and f'id="p-{anchor[2:]}"' in page
    assert page.index(f'id="{row}"') < page.index(f'id="{anchor}"')
    assert "<strong>fifty</strong>" in page
    reply = told.browser("author").submit(
        "/D1/posts", {"do": "reply", "parent": anchor[2:], "version": "1", "body": "A round number."}
    )
    assert reply.status_code == 303
    assert words(reviewer.page("/D1")).count("A round number.") == 2  # in the conversation and at the line


def test_a_thread_that_must_be_fixed_is_closed_and_opened_again(told: House) -> None:
    reviewer, author = told.browser(), told.browser("author")
    fields = {"do": "inline", "path": "b.py", "side": "new", "line": "1", "must_fix": "1", "body": "Unused."}
    anchor = reviewer.submit("/D2/posts", fields).headers["location"].partition("#l-")[2]
    assert "A thread that reviewer marked as must fix is open" in words(author.page("/D2"))
    assert "must fix" in words(author.page("/D2").partition(f'id="l-{anchor}"')[2].partition("</article>")[0])
    assert author.submit("/D2/threads", {"post": anchor, "state": "done"}).status_code == 303
    assert "must fix" not in words(author.page("/D2")).replace("Must fix", "")
    assert "Open again" in words(author.page("/D2"))
    assert reviewer.submit("/D2/threads", {"post": anchor, "state": "open"}).status_code == 303
    assert "must fix is open" in words(author.page("/D2"))
    assert reviewer.submit("/D2/threads", {"post": anchor, "state": "dropped"}).status_code == 303
    assert reviewer.submit("/D2/threads", {"post": anchor, "state": "odd"}).status_code == 400
    assert reviewer.submit("/D2/threads", {"post": "nothing", "state": "done"}).status_code == 404


def test_forms_from_elsewhere_are_refused(told: House) -> None:
    reviewer = told.browser()
    bad = reviewer.submit("/D1/posts", {"body": "forged"}, csrf=False)
    assert bad.status_code == 403 and "old session" in bad.text
    origin = {"origin": "http://evil.example"}
    found = re.search(r'name="csrf" value="([^"]+)"', reviewer.page("/"))
    assert found
    for path in ("/D1/posts", "/D1/land", "/D1/threads", "/sign-out"):
        answer = reviewer.post(path, data={"csrf": found[1], "body": "forged"}, headers=origin)
        assert answer.status_code == 403, path
    for path in ("/sign-in", "/invite/x"):
        answer = httpx.post(told.url + path, data={"name": "author", "password": PASSWORD}, headers=origin)
        assert answer.status_code == 403, path
    as_json = reviewer.post("/D1/posts", json={"body": "forged"}, headers={"origin": told.url})
    assert as_json.status_code == 403
    assert "forged" not in reviewer.page("/D1")


def test_mistakes_in_forms_are_pages_that_say_what_to_do(told: House) -> None:
    reviewer = told.browser()
    for fields, words_of_it in (
        ({"do": "comment", "body": "  "}, "The post is empty"),
        ({"do": "inline", "body": "x", "path": "a.py", "side": "new", "line": "9999"}, "There are no lines"),
        ({"do": "inline", "body": "x", "path": "../a.py", "side": "new", "line": "1"}, "no such file"),
        ({"do": "comment", "body": "x", "version": "7"}, "no version 7"),
        ({"do": "comment", "body": "x" * 400_000}, "at most 64 KB"),
    ):
        answer = reviewer.submit("/D1/posts", fields)
        assert 400 <= answer.status_code < 500
        assert words_of_it in html.unescape(answer.text), fields
        assert "<h1" in answer.text and "Traceback" not in answer.text


def test_addresses_that_lead_nowhere(told: House) -> None:
    reviewer = told.browser()
    for path in (
        "/D9", "/D0", "/Dx", "/D1/v9", "/D" + "9" * 5000, "/D-1", "/commits/zzzzzzz", "/commits/" + "0" * 40,
        "/commits?from=--all", "/commits/--all", "/logs/..%2F..%2Ffairlead.sqlite", "/logs/" + "f" * 64,
        "/nowhere",
    ):  # fmt: skip
        answer = reviewer.get(path, headers={"accept": "text/html"})
        assert answer.status_code == 404, (path[:40], answer.status_code)
        assert "<h1" in answer.text
    assert reviewer.get("/nowhere").json()["where"] == "/nowhere"


def test_static_files_are_kept_and_nothing_else_is_served(told: House) -> None:
    page = told.browser(None).page("/sign-in")
    for address in re.findall(r'(?:href|src)="(/static/[^"#]+)', page):
        answer = httpx.get(told.url + address)
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
    for path in ("/static/..%2Fviews.py", "/static/%2e%2e/views.py", "/static/", "/static/views.py"):
        assert httpx.get(told.url + path).status_code == 404


def test_every_page_forbids_inline_code_and_frames(told: House) -> None:
    client = told.browser()
    for path in ("/", "/D1", "/queue", "/commits", "/sign-in", "/nowhere"):
        answer = client.get(path, headers={"accept": "text/html"}, follow_redirects=True)
        policy = answer.headers["content-security-policy"]
        assert (
            "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        )
        assert answer.headers["cache-control"] == "no-store"
        assert not re.search(r"\sstyle=|\son\w+=|<style|<script(?! type=\"module\" src)", answer.text), path


def test_the_empty_server_teaches(house: House) -> None:
    page = words(house.browser().page("/"))
    assert (
        "The repository is empty." in page and f"git push {house.url}/git/main HEAD:refs/heads/main" in page
    )
    assert "No commits yet." in words(house.browser().page("/commits"))
    assert "The queue is empty." in words(house.browser().page("/queue"))


def test_from_comment_to_why_is_this_green(house: House, tmp_path: Path) -> None:
    """The main job: a comment that stays on its line, a landing by evidence, a refusal with its log."""
    house.commit("Lay the ground", {"a.py": CODE})
    house.push("refs/heads/main")
    first = CODE.replace("x + 5", "x + 50")
    house.commit("Say fifty", {"a.py": first})
    house.push()
    reviewer, author = house.browser(), house.browser("author")
    said = reviewer.submit(
        "/D1/posts",
        {"do": "inline", "path": "a.py", "side": "new", "line": "22", "version": "1", "body": "Fifty?"},
    )
    anchor = said.headers["location"].partition("#")[2]
    assert "Not ready to land" in words(reviewer.page("/D1"))
    assert "0 of 1 approvals of version 1" in words(reviewer.page("/D1"))

    house.commit("Say fifty", {"a.py": '"""Sums."""\n\n' + first}, amend=True)
    house.push()
    page = author.page("/D1")
    read = words(page)
    assert "a.py:24 from line 22 of v1" in read and "sent v2" in read and "lines changed" not in read
    assert page.index(f'id="{line_id("a.py", "new", 24)}"') < page.index(f'id="{anchor}"')
    assert "You are reading v1. Show v2, the latest" in words(author.page("/D1/v1"))
    assert "Accept v1" in words(reviewer.page("/D1/v1")) and "Accept v" not in words(reviewer.page("/D1"))

    assert reviewer.submit("/D1/posts", {"do": "accept", "version": "2", "body": ""}).status_code == 303
    assert "Ready to land" in words(author.page("/D1")) and "Accepted, ready to land" in words(
        author.page("/")
    )
    assert author.submit("/D1/land", {}).status_code == 303
    assert "In the queue #1" in words(author.page("/D1"))
    assert "The queue is empty" not in words(author.page("/queue"))
    house.land({"//:a": ("0", "1"), "//:b": ("0", "0"), "//:new": ("", "n"), "//:gone": ("g", "")})

    commit = house.state.repo("main").ref("refs/heads/main")
    assert commit is not None
    assert f"Landed on main As {commit[:12]}" in words(author.page("/D1"))
    page = author.page(f"/commits/{commit}")
    read = words(page)
    assert (
        "Why is this green? By evidence: all 2 tests that this commit can affect passed at their exact keys, "
        "the other one keeps the key it has on the parent, and reviewer accepted this very change." in read
    )
    for piece in (
        "//:a pass", "namespace 0.25", "new target", "Removed with this commit: //:gone",
        "reviewer accepted v2",
        f"fairlead test --rev {commit} //:a --no-test-cache", "fairlead land verify", "1 unaffected", "local",
    ):  # fmt: skip
        assert piece in read, piece
    log = re.search(r'href="(/logs/[0-9a-f]{64})"', page)
    assert log and "1 //:a" in words(author.page(log[1]))
    raw = author.get(log[1] + "?raw=1")
    assert raw.text == "//:a\n1 pass\n" and "sandbox" in raw.headers["content-security-policy"]
    assert author.get(f"/api/commits/{commit}/evidence").status_code == 200
    seed = house.git("rev-list", "--max-parents=0", "HEAD")
    assert "Is this green? There is no evidence for this commit" in words(author.page(f"/commits/{seed}"))
    assert "2 tests affected" in words(author.page("/commits"))

    house.commit("Break it", {"a.py": first + "1 / 0\n"})
    house.push()
    reviewer.submit("/D2/posts", {"do": "accept", "version": "1", "body": ""})
    author.submit("/D2/land", {})
    house.land({"//:a": ("1", "2"), "//:b": ("0", "0"), "//:new": ("n", "n")}, {"//:a": "fail"})
    page = author.page("/D2")
    assert "Not landed The last try was refused: //:a failed" in words(page)
    log = re.search(r'href="(/logs/[0-9a-f]{64})"', page)
    assert log and "2 1 fail" in words(author.page(log[1]))
    assert "//:a failed" in words(author.page("/queue")) and log[1] in author.page("/queue")
    assert "It was not landed" in words(author.page("/"))


def test_a_commit_page_names_the_account_that_pushed_and_not_a_forged_author(house: House) -> None:
    house.commit("Lay the ground", {"a.py": CODE})
    house.push("refs/heads/main")
    house.commit("Say fifty", {"a.py": CODE.replace("x + 5", "x + 50")})
    house.git("commit", "-q", "--amend", "--no-edit", "--author", "reviewer <reviewer@example.org>")
    pushed = house.git("rev-parse", "HEAD")
    house.push()
    reviewer = house.browser()
    read = words(reviewer.page(f"/commits/{pushed}"))
    assert "AU author the commit says “reviewer”" in read
    reviewer.submit("/D1/posts", {"do": "accept", "version": "1", "body": ""})
    house.browser("author").submit("/D1/land", {})
    house.land({"//:a": ("0", "1")})
    commit = house.state.repo("main").ref("refs/heads/main")
    page = reviewer.page(f"/commits/{commit}")
    assert "AU author the commit says “reviewer”" in words(page)
    listed = words(reviewer.page("/commits"))
    assert "AU author the commit says “reviewer”" in listed
    assert "the commit says “author”" in listed, "nobody vouches for the name in a commit without evidence"


def test_a_commit_page_says_a_name_once_where_commit_and_account_agree(house: House) -> None:
    house.commit("Lay the ground", {"a.py": CODE})
    house.push("refs/heads/main")
    pushed = house.commit("Say fifty", {"a.py": CODE.replace("x + 5", "x + 50")})
    house.push()
    assert "the commit says" not in words(house.browser().page(f"/commits/{pushed}"))


def test_a_file_too_large_to_show_has_a_link_to_its_bytes(house: House) -> None:
    line = "a line of a large file, which no page shows\n"
    house.commit("Lay the ground", {"large.txt": line, "b.bin": b"\0\1"})
    house.push("refs/heads/main")
    large = line * 100_000
    house.commit("Grow", {"large.txt": large, "b.bin": b"\0\1\2", "sub/gone <b>.html": b"\0<script>"})
    house.push()
    reviewer = house.browser()
    page = reviewer.page("/D1")
    assert "Raw file: as it was (44 bytes), as it is now (4.4 MB)" in words(page) and len(page) < 100_000
    links = re.findall(r'href="(/D1/v1/raw/f[0-9a-f]{8}(?:\?side=old)?)"', page)
    got = {link: reviewer.get(link) for link in links}
    assert {answer.status_code for answer in got.values()} == {200}
    texts = [a.text for a in got.values() if a.headers["content-type"].startswith("text/")]
    assert sorted(texts) == [line, large]
    for answer in got.values():
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert int(answer.headers["content-length"]) == len(answer.content)
        shown = answer.headers["content-disposition"].split(";")[0]
        assert shown == ("attachment" if b"\0" in answer.content else "inline")
    assert any("sub" not in a.headers["content-disposition"] and "gone%20%3Cb%3E.html" in
               a.headers["content-disposition"] for a in got.values())  # fmt: skip
    for path in ("/D1/v1/raw/f00000000", "/D1/v2/raw/" + links[0].rpartition("/")[2], "/D9/v1/raw/f00000000"):
        assert reviewer.get(path).status_code == 404
    assert house.browser(None).get(links[0]).status_code == 303


def test_the_author_takes_a_diff_out_of_the_queue_by_a_button(house: House) -> None:
    house.commit("Lay the ground", {"a.py": CODE})
    house.push("refs/heads/main")
    house.commit("Say fifty", {"a.py": CODE.replace("x + 5", "x + 50")})
    house.push()
    author, reviewer = house.browser("author"), house.browser()
    reviewer.submit("/D1/posts", {"do": "accept", "version": "1", "body": ""})
    author.submit("/D1/land", {})
    assert "Take out of the queue" in author.page("/D1") and "Take out" not in reviewer.page("/D1")
    assert reviewer.submit("/D1/dequeue", {}).status_code == 403
    assert author.submit("/D1/dequeue", {}).status_code == 303
    assert "Ready to land" in words(author.page("/D1")) and "The queue is empty." in words(
        author.page("/queue")
    )
