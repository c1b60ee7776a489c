"""The pages in a real browser: everyone can use them, they fit, and what one reads does not move."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fairlead.serve.pages import render
from fairlead.serve.pages.change import line_id
from tests.serve_pages import samples
from tests.serve_pages.house import PASSWORD, House

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MODES = [(1440, "light"), (1440, "dark"), (360, "light"), (360, "dark")]
CODE = "".join(f"def f{n}(x):\n    return x + {n}\n\n\n" for n in range(40))


@pytest.fixture(scope="module")
def shown() -> Iterator[str]:
    """The address of a server that shows the samples."""

    async def show(request: Request) -> Response:
        template, shell, page = samples.PAGES[request.path_params["name"]]
        return render.page(template, shell, page)

    app = Starlette(routes=[Route("/sample/{name}", show), Route("/static/{name}", render.static)])
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/sample/"
    server.should_exit = True
    thread.join(20)
    listener.close()


@contextmanager
def opened(chromium: Browser, width: int = 1440, theme: str = "light", height: int = 900) -> Iterator[Page]:
    """A page in its own context; a script error or a broken policy fails the test."""
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_default_timeout(15_000)
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on(
        "console",
        lambda line: (
            trouble.append(line.text) if "Content Security" in line.text or "violates" in line.text else None
        ),
    )
    yield page
    context.close()
    assert trouble == []


@pytest.mark.parametrize(("width", "theme"), MODES)
def test_every_page_is_accessible_and_fits(chromium: Browser, shown: str, width: int, theme: str) -> None:
    axe = (files("axe_playwright_python") / "axe.min.js").read_text()
    found = []
    with opened(chromium, width, theme) as page:
        for name in samples.PAGES:
            page.goto(shown + name)
            page.evaluate(axe)
            result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
            for violation in result["violations"]:
                for node in violation["nodes"]:
                    found.append(
                        (name, violation["id"], node["target"], node.get("failureSummary", "")[:200])
                    )
            wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if wide > 0:
                found.append((name, "overflow", wide, ""))
            ids = page.evaluate("[...document.querySelectorAll('[id]')].map(n => n.id)")
            twice = {one for one in ids if ids.count(one) > 1}
            if twice:
                found.append((name, "ids twice", sorted(twice), ""))
    assert found == []


def test_forced_colours_keep_what_colours_say(chromium: Browser, shown: str) -> None:
    context = chromium.new_context(forced_colors="active")
    page = context.new_page()
    page.goto(shown + "diff")
    edge = page.eval_on_selector(".state", "n => getComputedStyle(n).borderTopStyle")
    marks = page.eval_on_selector(".code .add .c", "n => getComputedStyle(n, '::before').content")
    context.close()
    assert edge == "solid" and "+" in marks


def test_copying_code_gives_code(chromium: Browser, shown: str) -> None:
    with opened(chromium) as page:
        page.goto(shown + "diff")
        text = page.evaluate(
            """() => { const rows = [...document.querySelectorAll('.code tr.add')].slice(0, 2);
            getSelection().setBaseAndExtent(rows[0], 0, rows[1], rows[1].childNodes.length);
            return getSelection().toString(); }"""
        )
    assert re.sub(r"\s+", " ", text).strip() == (
        'UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400} _PART = re.compile(r"(\\d+)([smhd])")'
    )


# --- live ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    house = House(tmp_path_factory.mktemp("house"))
    try:
        house.commit("Lay the ground", {"a.py": "x = 1\n"})
        house.push("refs/heads/main")
        house.commit("Add sums", {"a.py": CODE})
        house.push()
        yield house
    finally:
        house.close()


def enter(page: Page, house: House, who: str, path: str) -> None:
    page.goto(f"{house.url}/sign-in?back={path}")
    page.fill("#name", who)
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.wait_for_selector("#live[data-on='1']")


def top_of(page: Page, selector: str) -> float:
    return float(page.eval_on_selector(selector, "n => n.getBoundingClientRect().top"))


def test_a_post_appears_and_nothing_else_moves(chromium: Browser, told: House) -> None:
    line = "#" + line_id("a.py", "new", 90)
    with opened(chromium) as page:
        enter(page, told, "author", "/D1")
        page.locator(line).scroll_into_view_if_needed()
        composer = page.locator("#composer textarea")
        composer.click()
        page.keyboard.type("half a thought")
        page.evaluate("document.activeElement.setSelectionRange(2, 6)")
        page.evaluate("window.kept = document.querySelector('.file > summary')")
        before, loads = top_of(page, line), page.evaluate("performance.timeOrigin")
        answer = told.browser().submit(
            "/D1/posts",
            {
                "do": "inline",
                "path": "a.py",
                "side": "new",
                "line": "2",
                "version": "1",
                "body": "Above **it**.",
            },
        )
        anchor = answer.headers["location"].partition("#")[2]
        page.wait_for_selector(f"#{anchor}", state="attached")
        page.wait_for_selector(f"#p-{anchor[2:]} strong", state="attached")
        assert page.evaluate("performance.timeOrigin") == loads  # no reload
        assert abs(top_of(page, line) - before) < 1  # though the thread came above it
        focused = page.evaluate("(n => [n.value, n.selectionStart, n.selectionEnd])(document.activeElement)")
        assert focused == ["half a thought", 2, 6]
        assert page.evaluate("window.kept === document.querySelector('.file > summary')")
        assert "reviewer" in (page.text_content("#said") or "")
        page.evaluate("localStorage.clear()")


def test_an_open_reply_survives_live_updates(chromium: Browser, told: House) -> None:
    reviewer = told.browser()
    anchor = (
        reviewer.submit("/D1/posts", {"do": "comment", "body": "First."})
        .headers["location"]
        .partition("#")[2]
    )
    with opened(chromium) as page:
        enter(page, told, "author", "/D1")
        page.locator(f"#p-r-{anchor[2:]} > summary").click()
        page.locator(f"#p-r-{anchor[2:]} textarea").fill("an answer in the making")
        reviewer.submit("/D1/posts", {"do": "reply", "parent": anchor[2:], "body": "And second."})
        page.wait_for_selector("text=And second.")
        assert page.locator(f"#p-r-{anchor[2:]} textarea").input_value() == "an answer in the making"
        assert page.locator(f"#p-r-{anchor[2:]}").get_attribute("open") is not None
        page.locator(f"#p-r-{anchor[2:]} button").click()
        page.wait_for_selector("article >> text=an answer in the making")
        assert page.evaluate("Object.keys(localStorage)") == []


def test_a_new_version_is_announced_and_not_forced(chromium: Browser, told: House) -> None:
    line = "#" + line_id("a.py", "new", 2)
    with opened(chromium) as page:
        enter(page, told, "reviewer", "/D1")
        text = page.text_content(line)
        told.commit("Add sums, with words", {"a.py": '"""Sums."""\n' + CODE}, amend=True)
        told.push()
        page.wait_for_selector("#newer >> text=Show v2, the latest")
        page.wait_for_selector("h1 >> text=with words")
        assert page.text_content(line) == text
        page.click("#newer a")
        page.wait_for_selector("nav[aria-label=Versions] a[aria-current] >> text=v2")
        assert page.text_content(line) != text


def test_the_feed_waits_behind_a_pill_while_it_is_read(chromium: Browser, told: House) -> None:
    with opened(chromium, height=300) as page:
        enter(page, told, "reviewer", "/")
        page.evaluate("scrollTo(0, 200)")
        page.wait_for_function("scrollY > 80")
        told.browser("author").submit("/D1/posts", {"do": "comment", "body": "News of the day."})
        page.wait_for_selector("#pill:not([hidden])")
        assert "new" in (page.text_content("#pill") or "")
        assert page.locator("text=News of the day.").count() == 0
        assert page.evaluate("scrollY") == 200
        page.click("#pill")
        page.wait_for_selector("text=News of the day.")
        assert page.evaluate("scrollY") == 0 and page.locator("#pill").is_hidden()
        told.browser("author").submit("/D1/posts", {"do": "comment", "body": "And of the hour."})
        page.wait_for_selector("text=And of the hour.")  # at the top of the page it comes by itself


def test_a_draft_outlives_reload_error_and_is_gone_when_sent(chromium: Browser, told: House) -> None:
    with opened(chromium) as page:
        enter(page, told, "reviewer", "/D1")
        box = page.locator("#composer textarea")
        box.fill("kept through everything")
        page.reload()
        assert box.input_value() == "kept through everything"
        page.evaluate("document.querySelector('#composer [name=version]').value = '77'")
        page.click("#composer button[value=comment]")
        page.wait_for_selector("h1 >> text=no version 77")
        page.click("text=Go back")
        page.wait_for_selector("#composer")
        assert box.input_value() == "kept through everything"
        page.click("#composer button[value=comment]")
        page.wait_for_selector("article >> text=kept through everything")
        assert box.input_value() == ""
        page.reload()
        assert box.input_value() == ""


def test_a_comment_on_a_line_with_a_script(chromium: Browser, told: House) -> None:
    row = line_id("a.py", "new", 31)
    with opened(chromium) as page:
        enter(page, told, "reviewer", "/D1")
        page.click(f"#{row} .n a")
        assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Comment on a.py:31"
        assert page.url.endswith("#" + row)
        page.keyboard.type("not yet")
        page.keyboard.press("Escape")
        assert page.locator("[data-mine]").count() == 0
        page.click(f"#{row} .n a")
        assert page.locator("[data-mine] textarea").input_value() == "not yet"
        page.keyboard.type(", but now")
        told.browser("author").submit("/D1/posts", {"do": "comment", "body": "Meanwhile."})
        page.wait_for_selector("text=Meanwhile.")
        assert page.locator("[data-mine] textarea").input_value() == "not yet, but now"
        page.keyboard.press("Control+Enter")
        page.wait_for_selector(f"#{row} + tr >> text=not yet, but now")
        assert page.evaluate("Object.keys(localStorage)") == []


def test_a_page_that_was_cut_off_catches_up(chromium: Browser, told: House) -> None:
    with opened(chromium) as page:
        enter(page, told, "author", "/D1")
        page.context.set_offline(True)
        page.evaluate("dispatchEvent(new Event('visibilitychange'))")  # drops and reopens the stream
        page.wait_for_selector("#live[data-on='0']")
        told.browser().submit("/D1/posts", {"do": "comment", "body": "Said while you were away."})
        time.sleep(0.3)
        assert page.locator("text=Said while you were away.").count() == 0
        page.context.set_offline(False)
        page.wait_for_selector("text=Said while you were away.")
        assert page.locator("#talk >> text=Said while you were away.").count() == 1


def test_reviewing_without_javascript(chromium: Browser, told: House) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{told.url}/D1")
    page.fill("#name", "reviewer")
    page.fill("#password", PASSWORD)
    page.click("main button")
    page.click(f"#{line_id('a.py', 'new', 11)} .n a")
    page.fill("#compose textarea", "Without a script.")
    page.click("#compose button")
    page.wait_for_selector(f"#{line_id('a.py', 'new', 11)} + tr >> text=Without a script.")
    page.fill("#composer textarea", "Good as it is.")
    page.click("#composer button[value=accept]")
    page.wait_for_selector("#head >> text=Accepted")
    page.click("#rail >> text=Land")
    page.wait_for_selector("#rail >> text=In the queue")
    context.close()


def test_the_keyboard_reaches_the_content_first(chromium: Browser, told: House) -> None:
    with opened(chromium) as page:
        enter(page, told, "reviewer", "/queue")
        page.reload()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
