"""The design's promises that can be computed: contrast in both themes, tokens alone, small files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SERVE = Path(__file__).resolve().parents[2] / "fairlead" / "serve"
SHEETS = {path.name: path.read_text() for path in sorted((SERVE / "static").glob("*.css"))}
TEMPLATES = {path.name: path.read_text() for path in sorted((SERVE / "templates").glob("*.html"))}
_PAIR = re.compile(r"--([a-z0-9-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\)")
COLOURS = {name: (light, dark) for name, light, dark in _PAIR.findall(SHEETS["tokens.css"])}

INKS = ("ink", "ink-2", "ink-3")
GROUNDS = ("page", "sheet", "raised", "sunk", "hover")
CODE = ("k-keyword", "k-string", "k-number", "k-name", "k-type", "k-comment", "ink")
PAIRS = [
    *((ink, ground) for ink in (*INKS, "blue", "green", "amber", "red", "violet") for ground in GROUNDS),
    *(
        (ink, ground)
        for ink in CODE
        for ground in ("sheet", "sunk", "add", "del", "add-word", "del-word", "target")
    ),
    *((ink, f"{ink}-soft") for ink in ("blue", "green", "amber", "red", "violet")),
    *(
        ("ink-2", ground)
        for ground in ("add-edge", "del-edge", "green-soft", "red-soft", "blue-soft", "amber-soft")
    ),
    *(("ink", ground) for ground in ("green-soft", "red-soft", "blue-soft", "amber-soft")),
    ("ink-3", "target"),
    ("on-bold", "bold"),
    ("on-bold", "blue"),
]


def luminance(colour: str) -> float:
    """WCAG's relative luminance of "rrggbb"."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_computed_as_wcag_does() -> None:
    assert contrast("000000", "ffffff") == pytest.approx(21)
    assert contrast("777777", "ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_ink_can_be_read_on_every_ground_it_stands_on(theme: int) -> None:
    weak = {
        f"{ink} on {ground}": round(contrast(COLOURS[ink][theme], COLOURS[ground][theme]), 2)
        for ink, ground in PAIRS
        if contrast(COLOURS[ink][theme], COLOURS[ground][theme]) < 4.5
    }
    assert weak == {}


def test_avatars_can_be_read() -> None:
    found = re.findall(
        r"--av: light-dark\(#(\w+), #(\w+)\); --av-ink: light-dark\(#(\w+), #(\w+)\)", SHEETS["tokens.css"]
    )
    assert len(found) == 8
    for light, dark, light_ink, dark_ink in found:
        assert contrast(light, light_ink) >= 4.5
        assert contrast(dark, dark_ink) >= 4.5


def test_raw_colours_stand_in_the_tokens_alone() -> None:
    for name, sheet in SHEETS.items():
        if name != "tokens.css":
            bare = re.sub(r"/\*.*?\*/", "", sheet, flags=re.DOTALL)
            rest = [line for line in bare.splitlines() if "::selection" not in line]
            assert not re.search(r"#[0-9a-fA-F]{3,8}\b|rgba?\(|hsla?\(|oklch\(", "\n".join(rest)), name


def test_every_role_that_is_used_is_defined() -> None:
    sheets = "\n".join(SHEETS.values())
    used = set(re.findall(r"var\((--[a-z0-9-]+)", sheets))
    defined = set(re.findall(r"(--[a-z0-9-]+):", sheets))
    assert used - defined == set()
    assert defined - used == set()


def test_every_class_in_a_template_has_a_rule_or_is_a_hook() -> None:
    sheets = "\n".join(SHEETS.values())
    words: set[str] = set()
    for template in TEMPLATES.values():
        for value in re.findall(r'class="([^"]*)"', re.sub(r"\{#.*?#\}", "", template, flags=re.DOTALL)):
            words.update(re.sub(r"\{[{%].*?[}%]\}", " ", value).split())
    unknown = {word for word in words if not re.search(rf"\.{re.escape(word)}(?![\w-])", sheets)}
    assert unknown <= {"o", "w", "tone-"}  # hooks of diff.css, and the beginning of tone-0 to tone-7


def test_the_pages_stay_small() -> None:
    assert sum(len(sheet.encode()) for sheet in SHEETS.values()) < 30 * 1024
    assert len((SERVE / "static" / "page.js").read_bytes()) < 10 * 1024


def test_templates_hold_no_code_and_escape_everything() -> None:
    for name, template in TEMPLATES.items():
        assert not re.search(r"\son[a-z]+=|\sstyle=|javascript:|<style", template), name
        assert not re.search(r"<script(?![^>]* src=)", template), name
        assert not re.search(r"\|\s*safe\b|autoescape", template), name
