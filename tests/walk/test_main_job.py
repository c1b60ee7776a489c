"""The main job, as `scripts/demo` does it, with two people at two browsers in the middle of it.

Real server, real worker, real git, this very repository. The reviewer reads, comments and accepts on the
pages; the author watches them change. Afterwards every page is looked at wide and narrow, light and dark.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import PATIENCE, problems

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def walk() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("main_job", ROOT / "scripts" / "main_job.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["main_job"] = module
    spec.loader.exec_module(module)
    work = Path(tempfile.mkdtemp(prefix="fairlead-walk-"))
    made = module.Walk(work, quiet=True)
    try:
        yield made
    finally:
        made.stop()
        shutil.rmtree(work, ignore_errors=True)


def sign_in(browser: Browser, walk: Any, name: str) -> Page:
    """A browser of their own for one person, signed in through the page."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{walk.url}/sign-in")
    page.fill("#name", name)
    page.fill("#password", walk.passwords[name])
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{walk.url}/")
    return page


@pytest.fixture(scope="module")
def people(walk: Any, chromium: Browser) -> Iterator[tuple[Page, Page]]:
    walk.serve()
    walk.change()
    walk.submit()
    author, reviewer = sign_in(chromium, walk, "author"), sign_in(chromium, walk, "reviewer")
    yield author, reviewer
    author.context.close()
    reviewer.context.close()


def test_the_feed_shows_the_stack_and_whose_turn_it_is(walk: Any, people: tuple[Page, Page]) -> None:
    _, reviewer = people
    turn = reviewer.locator("#turn")
    for number in walk.diffs:
        assert turn.get_by_text(f"D{number}", exact=True).count() == 1
    assert reviewer.locator("#stacks").get_by_text("2 diffs in a stack").is_visible()


def test_the_diff_is_highlighted(walk: Any, people: tuple[Page, Page]) -> None:
    author, reviewer = people
    second = walk.diffs[-1]
    for page in people:
        page.goto(f"{walk.url}/D{second}")
    code = reviewer.locator("#files tr.add td.c")
    assert "is None" in " ".join(code.all_inner_texts())
    assert reviewer.locator("#files tr.add td.c span").count() > 3
    author.evaluate(
        "window.unloaded = false; addEventListener('beforeunload', () => { window.unloaded = true })"
    )


def test_a_comment_on_a_line_appears_in_the_other_browser(walk: Any, people: tuple[Page, Page]) -> None:
    author, reviewer = people
    row = reviewer.locator("#files tr.add", has_text="if fingerprint is None:")
    walk.line = int(row.locator("td.w").inner_text())
    row.locator("td.w a").click()
    form = reviewer.locator("form#compose")
    form.locator("textarea").fill("Who calls this with `None`? Please say so in the docstring.")
    form.get_by_role("button", name="Comment").click()
    author.locator("#thread").get_by_text("Who calls this with").wait_for(timeout=15_000)
    assert author.evaluate("window.unloaded") is False, "the page was loaded anew"


def test_a_reply_is_a_post_under_the_comment(walk: Any, people: tuple[Page, Page]) -> None:
    author, reviewer = people
    author.fill("#composer textarea", "On its way.")
    author.locator("#composer").get_by_role("button", name="Comment", exact=True).click()
    reviewer.locator("#thread").get_by_text("On its way.").wait_for(timeout=15_000)


def test_a_new_version_shows_itself_and_the_comment_moves_with_its_line(
    walk: Any, people: tuple[Page, Page]
) -> None:
    _, reviewer = people
    walk.amend()
    now = walk.line_of("if fingerprint is None:")
    assert now != walk.line
    reviewer.get_by_role("navigation", name="Versions").get_by_text("v2").wait_for(timeout=15_000)
    reviewer.goto(f"{walk.url}/D{walk.diffs[-1]}")
    comment = reviewer.locator("#files tr.say", has_text="Who calls this with")
    above = comment.locator("xpath=preceding-sibling::tr[not(contains(@class, 'say'))][1]")
    assert above.locator("td.w").inner_text() == str(now)
    assert "if fingerprint is None:" in above.inner_text()


def test_the_reviewer_accepts_and_the_author_lands_on_the_page(walk: Any, people: tuple[Page, Page]) -> None:
    author, reviewer = people
    first, second = walk.diffs
    for number in (first, second):
        reviewer.goto(f"{walk.url}/D{number}")
        reviewer.get_by_role("button", name="Accept").click()
        reviewer.locator("#rail").get_by_text("reviewer accepted").wait_for(timeout=15_000)
    author.goto(f"{walk.url}/D{second}")
    author.get_by_role("button", name=f"Land D{first} and D{second}").click()
    author.locator("#rail").get_by_text("Landed on main").wait_for(timeout=600_000)
    walk.git("fetch", "--quiet", f"{walk.url}/git/fairlead", "refs/heads/main")
    walk.landed = walk.git("rev-list", "--reverse", f"{walk.seed}..FETCH_HEAD").split()
    assert len(walk.landed) == 2
    walk.git("reset", "--quiet", "--hard", "FETCH_HEAD")


def test_the_page_answers_why_it_is_green(walk: Any, people: tuple[Page, Page]) -> None:
    author, _ = people
    author.locator("#rail").get_by_role("link", name="Why is this green?").click()
    assert author.get_by_role("heading", name="Why is this green?").is_visible()
    text = author.get_by_role("main").inner_text()
    for word in ("//tests:keys", "pass", "local", "namespace", "reviewer", "fairlead test --rev"):
        assert word in text, word


def test_a_third_diff_is_refused_with_its_log(walk: Any, people: tuple[Page, Page]) -> None:
    author, _ = people
    walk.refuse()
    author.goto(f"{walk.url}/D{walk.diffs[-1]}")
    assert author.locator("#rail").get_by_text("Not landed").is_visible()
    author.locator("#rail").get_by_role("link", name="Read the log").click()
    assert "test_twelve_digits_are_shown" in author.get_by_role("main").inner_text()


def test_the_evidence_holds_and_a_verdict_is_replayed(walk: Any, people: tuple[Page, Page]) -> None:
    walk.evidence()


def test_what_was_built_is_published_and_run_by_two_programs(walk: Any, people: tuple[Page, Page]) -> None:
    walk.publish()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_every_page_is_accessible_and_fits(
    walk: Any, people: tuple[Page, Page], chromium: Browser, scheme: Any, width: int, tmp_path: Path
) -> None:
    author, _ = people
    context = chromium.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        storage_state=author.context.storage_state(),
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    paths = ["/", *(f"/D{n}" for n in walk.diffs), "/queue", "/commits", f"/commits/{walk.landed[-1]}"]
    for path in paths:
        page.goto(walk.url + path)
        assert problems(page) == [], path
        name = re.sub(r"\W+", "-", path).strip("-") or "feed"
        page.screenshot(path=str(tmp_path / f"{name}-{width}-{scheme}.png"), full_page=True)
    context.close()
