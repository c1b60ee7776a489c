"""Directives: comments that silence a rule, `# lint-ignore: SomeRule` or `# lint-fixme: A, B`.

Fixit's grammar to the letter, its surprises too, since the comments are already in people's code:
without names all rules are silenced; `# lint-ignore because legacy` names a rule "because" and so
silences nothing; the first directive of a comment is the only one; a second name needs a comma.
"""

from __future__ import annotations

import re

_DIRECTIVE = re.compile(r"#\s*lint-(?:ignore|fixme)(?:(?::|\s)\s*(?P<names>\w+(?:,\s*\w+)*))?")


def silences(comment: str, rule: str) -> bool:
    """Whether `comment` (one comment, from its #) silences the rule of that name.

    Names match as written or in lower case, with or without the suffix "Rule".
    """
    found = _DIRECTIVE.search(comment)
    if found is None:
        return False
    if found["names"] is None:
        return True
    names = {name.strip().removesuffix("Rule") for name in found["names"].split(",")}
    return rule in names or rule.lower() in names
