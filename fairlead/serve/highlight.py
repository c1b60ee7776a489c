"""Code as HTML: highlighted lines, changed words, and nothing invisible.

Highlighting needs the whole file (a string may begin a hundred lines above the hunk), so the unit is the
blob, and the cache key is the blob's id and the lexer's name.  It runs in one background thread: a request
waits for it a fifth of a second at most and otherwise shows plain code, so a slow lexer can neither hold a
page nor a worker thread of the server.  The next view finds the cache warm.  (Rejected: highlighting in
the browser, 100 KB of script for what the server does once a blob; a highlighted diff, whose state at the
top of each hunk is a guess.)

Colours: Pygments' hundred token types are folded into six roles, because a calm page uses few.

Whatever could make code look other than it is (bidirectional controls, zero-width characters, escape
codes, bytes that are no text) is shown by its name: see CVE-2021-42574, "Trojan Source".
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late

from markupsafe import Markup, escape

LARGEST = 512 * 1024  # bytes; larger files are shown without colours
LONGEST_LINE = 2000  # characters; the rest of a longer line is cut, and counted
PATIENCE = 0.2  # seconds that a request waits
_CACHED_BYTES = 64 << 20

Span = tuple[str, str]  # role ("" for none) and text
Line = tuple[Span, ...]

_ROLES = (
    ("Comment", "x"),
    ("Literal.String", "s"),
    ("Literal.Number", "m"),
    ("Keyword", "k"),
    ("Operator.Word", "k"),
    ("Name.Function", "f"),
    ("Name.Class", "f"),
    ("Name.Decorator", "t"),
    ("Name.Builtin", "t"),
    ("Name.Exception", "t"),
    ("Name.Tag", "k"),
    ("Name.Attribute", "f"),
)

# Characters that change how text looks without being seen, other than tab and the ends of lines.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u2069\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]|\r(?!$)"
)
_BIDI = {
    "\u061c": "ALM", "\u200e": "LRM", "\u200f": "RLM", "\u202a": "LRE", "\u202b": "RLE", "\u202c": "PDF",
    "\u202d": "LRO", "\u202e": "RLO", "\u2066": "LRI", "\u2067": "RLI", "\u2068": "FSI", "\u2069": "PDI",
    "\u200b": "ZWSP", "\u200c": "ZWNJ", "\u200d": "ZWJ", "\ufeff": "BOM", "\x1b": "ESC", "\x00": "NUL",
    "\r": "CR",
}  # fmt: skip


def _name(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, kept by "surrogateescape"
        return f"\\x{code - 0xDC00:02X}"
    known = _BIDI.get(character)
    return f"U+{code:04X} {known}" if known else f"U+{code:04X}"


def _visible(match: re.Match[str]) -> str:
    return f'<span class="bidi" title="hidden character">{_name(match.group())}</span>'


def shown(text: object) -> Markup:
    """Any plain text as HTML: escaped, with hidden characters shown by name."""
    if isinstance(text, Markup):
        return text
    return Markup(_HIDDEN.sub(_visible, str(escape(str(text)))))


def plain(text: object) -> str:
    """Text for places that take no markup (titles, labels): hidden characters by name, in brackets."""
    return _HIDDEN.sub(lambda match: f"[{_name(match.group())}]", str(text))


def line_html(line: Line, changed: Sequence[tuple[int, int]] = ()) -> Markup:
    """One line as HTML; `changed` are [start, end) ranges of characters to mark as changed words."""
    length = sum(len(text) for _, text in line)
    out: list[str] = []
    at = 0
    for role, text in line:
        if at >= LONGEST_LINE:
            break
        text = text[: LONGEST_LINE - at]
        pieces = _cut(text, at, changed)
        at += len(text)
        html = "".join(f"<mark>{shown(piece)}</mark>" if marked else shown(piece) for piece, marked in pieces)
        out.append(f'<span class="{role}">{html}</span>' if role else html)
    if length > LONGEST_LINE:
        out.append(f'<span class="bidi">{length - LONGEST_LINE} more characters</span>')
    return Markup("".join(out))


def _cut(text: str, at: int, changed: Sequence[tuple[int, int]]) -> list[tuple[str, bool]]:
    """`text`, which begins at column `at` of its line, in pieces with whether each is marked."""
    pieces: list[tuple[str, bool]] = []
    here = 0
    for start, end in changed:
        start, end = max(start - at, here), min(end - at, len(text))
        if end <= start:
            continue
        if start > here:
            pieces.append((text[here:start], False))
        pieces.append((text[start:end], True))
        here = end
    if here < len(text):
        pieces.append((text[here:], False))
    return pieces


def plain_lines(text: str) -> list[Line]:
    """The lines of a file without colours."""
    return [(("", line),) if line else () for line in _lines(text)]


def _lines(text: str) -> list[str]:
    rows = text.split("\n")
    if rows and rows[-1] == "":
        rows.pop()
    return rows


def _key(blob: str, path: str) -> str:
    name = path.rpartition("/")[2]  # the name chooses the lexer
    return hashlib.sha256(f"{blob}\0{name}".encode("utf-8", "surrogateescape")).hexdigest()


def _role(kind: object) -> str:
    name = str(kind).removeprefix("Token.")
    return next((role for prefix, role in _ROLES if name.startswith(prefix)), "")


def _lexer_name(path: str, text: str) -> str:
    """The Pygments alias for a file, or "" if it has none; BUCK and .bzl files are Python to the eye."""
    from pygments.lexers import get_lexer_for_filename
    from pygments.util import ClassNotFound

    name = path.rpartition("/")[2]
    if name in {"BUCK", "TARGETS", "BUILD"} or name.endswith((".bzl", ".star")):
        return "python"
    try:
        return str(get_lexer_for_filename(name).aliases[0])
    except (ClassNotFound, IndexError):
        return "python" if text.startswith("#!") and "python" in text.split("\n", 1)[0] else ""


def colour(path: str, text: str) -> list[Line]:
    """The lines of a file with roles, worked out here and now."""
    name = _lexer_name(path, text)
    if not name or len(text) > LARGEST or any(len(line) > 4 * LONGEST_LINE for line in text.split("\n")):
        return plain_lines(text)
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(name, stripnl=False, ensurenl=False)
    wanted = _lines(text)
    lines: list[Line] = []
    current: list[Span] = []
    for kind, value in lexer.get_tokens(text):
        role = _role(kind)
        for index, piece in enumerate(value.split("\n")):
            if index:
                lines.append(tuple(current))
                current = []
            if piece:
                if current and current[-1][0] == role:
                    current[-1] = (role, current[-1][1] + piece)
                else:
                    current.append((role, piece))
    lines.append(tuple(current))
    lines = lines[: len(wanted)]
    # A lexer may normalise what it reads (line ends, tabs).  A diff must show the bytes, so then: no colours.
    if ["".join(text for _, text in line) for line in lines] != wanted:
        return plain_lines(text)
    return lines


class Highlighter:
    """A cache of highlighted blobs with one background thread; make one for each server."""

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._lock = threading.Lock()
        self._done: OrderedDict[str, tuple[int, list[Line]]] = OrderedDict()
        self._running: dict[str, Future[list[Line]]] = {}
        self._bytes = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="highlight")

    def many(
        self, wanted: Iterable[tuple[str, str]], read: Callable[[list[str]], Iterable[tuple[str, bytes]]]
    ) -> dict[tuple[str, str], list[Line]]:
        """The lines of each (blob, path); `read` fetches the blobs that are not cached, all at once.

        The patience is for all together: what is not coloured by then is plain.
        """
        found: dict[tuple[str, str], list[Line]] = {}
        absent: list[tuple[str, str]] = []
        with self._lock:
            for one in dict.fromkeys(wanted):
                key = _key(*one)
                if key in self._done:
                    self._done.move_to_end(key)
                    found[one] = self._done[key][1]
                else:
                    absent.append(one)
        data = dict(read(list(dict.fromkeys(blob for blob, _ in absent)))) if absent else {}
        texts = {one: data[one[0]].decode("utf-8", "surrogateescape") for one in absent}
        running = [(one, self._start(_key(*one), one[1], texts[one])) for one in absent]
        end = time.monotonic() + self._patience
        for one, future in running:
            try:
                found[one] = future.result(max(0.0, end - time.monotonic()))
            except Late:
                found[one] = plain_lines(texts[one])
        return found

    def _start(self, key: str, path: str, text: str) -> Future[list[Line]]:
        with self._lock:
            running = self._running.get(key)
            if running is None:
                running = self._running[key] = self._pool.submit(self._work, key, path, text)
            return running

    def _work(self, key: str, path: str, text: str) -> list[Line]:
        try:
            lines = colour(path, text)
        except Exception:  # a lexer is other people's code, run on other people's text
            lines = plain_lines(text)
        size = 200 + len(text) + sum(120 + 160 * len(line) for line in lines)  # measured, roughly
        with self._lock:
            self._running.pop(key, None)
            if key not in self._done:
                self._done[key] = (size, lines)
                self._bytes += size
            while self._bytes > _CACHED_BYTES and len(self._done) > 1:
                _, (dropped, _) = self._done.popitem(last=False)
                self._bytes -= dropped
        return lines
