"""What is signed has one spelling, and nothing else is read."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.errors import UsageError
from fairlead.ship.values import (
    ENFORCEMENTS,
    OUTCOMES,
    Approval,
    Fields,
    KeyStatement,
    Reason,
    Settings,
    Signed,
    Verdict,
    canonical,
    enough,
    parse_canonical,
)

words = st.text(max_size=12)
verdicts = st.builds(
    Verdict,
    words,
    words,
    st.sampled_from(OUTCOMES),
    words,
    st.sampled_from(ENFORCEMENTS),
    words,
    st.floats(0, 1e6) | st.integers(0, 1000),
)
statements = st.builds(KeyStatement, words, words, st.dictionaries(words, words, max_size=4), words)


@given(verdicts)
def test_a_verdict_is_read_back(verdict: Verdict) -> None:
    assert Verdict.from_payload(verdict.payload()) == verdict


@given(statements)
def test_a_key_statement_is_read_back(statement: KeyStatement) -> None:
    assert KeyStatement.from_payload(statement.payload()) == statement


@given(verdicts, verdicts)
def test_two_verdicts_never_share_a_payload(one: Verdict, other: Verdict) -> None:
    assert (one.payload() == other.payload()) == (one == other)


def test_the_payload_of_a_verdict_is_pinned() -> None:
    """Signatures outlive releases, so these bytes may never change under their type."""
    verdict = Verdict("//a:b", "k" * 4, "pass", "local", "namespace", "f0", 1.5)
    assert verdict.payload() == (
        b'{"enforced":"namespace","key":"kkkk","label":"//a:b","log":"f0","outcome":"pass",'
        b'"seconds":1.5,"type":"fairlead.verdict/1","worker":"local"}'
    )
    assert KeyStatement("c", "t", {"//b": "2", "//a": "1"}, "w").payload() == (
        b'{"commit":"c","keys":{"//a":"1","//b":"2"},"tree":"t","type":"fairlead.keys/1","worker":"w"}'
    )


GOOD = json.loads(Verdict("//a:b", "k", "pass", "local", "namespace", "f0", 1.5).payload())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"a":1e999}',
        json.dumps(GOOD).encode(),  # spaces
        canonical({**GOOD, "more": 1}),
        canonical({k: v for k, v in GOOD.items() if k != "log"}),
        canonical({**GOOD, "seconds": 1}).replace(b'"seconds":1', b'"seconds":1.50'),
        canonical({**GOOD, "label": "//:\ud800"}),  # half of a surrogate pair
        canonical({**GOOD, "seconds": 2}),  # 2.0 is the one spelling
        canonical({**GOOD, "seconds": -1.0}),
        canonical({**GOOD, "seconds": True}),
        canonical({**GOOD, "seconds": "1"}),
        canonical({**GOOD, "outcome": "passed"}),
        canonical({**GOOD, "outcome": ["pass"]}),
        canonical({**GOOD, "enforced": "total"}),
        canonical({**GOOD, "label": 3}),
        canonical({**GOOD, "type": "fairlead.verdict/2"}),
        canonical(GOOD)[:-1] + b',"worker":"other"}',  # a name twice
        canonical(GOOD) + b"\n",
    ],
)
def test_any_other_spelling_is_refused(payload: bytes) -> None:
    with pytest.raises(UsageError):
        Verdict.from_payload(payload)


def test_a_verdict_is_no_key_statement() -> None:
    with pytest.raises(UsageError):
        KeyStatement.from_payload(canonical(GOOD))


@given(st.binary(max_size=60))
def test_noise_is_refused_and_never_crashes(noise: bytes) -> None:
    with pytest.raises(UsageError):
        Verdict.from_payload(noise)


@given(st.binary(max_size=40), words, words)
def test_signed_statements_travel_as_json(payload: bytes, signature: str, signer: str) -> None:
    signed = Signed(payload, signature, signer)
    assert Signed.from_json(json.loads(json.dumps(signed.to_json()))) == signed


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        "x",
        {},
        {"payload": "%%", "signature": "", "signer": ""},
        {"payload": "é", "signature": "", "signer": ""},
        {"payload": "", "signature": 1, "signer": ""},
        {"payload": "", "signature": "", "signer": "", "more": ""},
    ],
)
def test_a_broken_signed_statement_is_refused(data: object) -> None:
    with pytest.raises(UsageError):
        Signed.from_json(data)


def test_the_others_travel_as_json_too() -> None:
    approval = Approval(12, 3, "reviewer", "c0", "ch")
    assert Approval.from_json(json.loads(json.dumps(approval.to_json()))) == approval
    settings = Settings(2, True, "landlock", "trunk")
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    reason = Reason("test", "it failed", "//a:b")
    assert Reason.from_json(json.loads(json.dumps(reason.to_json()))) == reason


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("approvals", -1),
        ("approvals", True),
        ("approvals", "1"),
        ("author_may_approve", 1),
        ("enforcement", "x"),
    ],
)
def test_settings_of_a_wrong_type_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=name):
        Settings.from_json({**Settings().to_json(), name: value})


def test_what_signs_a_value_gets_its_namespace_and_payload() -> None:
    asked: list[tuple[str, bytes]] = []

    def sign(namespace: str, message: bytes) -> str:
        asked.append((namespace, message))
        return "sig"

    verdict = Verdict("//a:b", "k", "pass", "one", "namespace", "f0", 1.5)
    assert verdict.signed(sign) == Signed(verdict.payload(), "sig", "worker:one")
    statement = KeyStatement("c", "t", {}, "one")
    assert statement.signed(sign) == Signed(statement.payload(), "sig", "worker:one")
    assert asked == [("fairlead-verdict", verdict.payload()), ("fairlead-keys", statement.payload())]


def test_enforcement_is_a_ladder() -> None:
    assert [[enough(a, b) for b in ENFORCEMENTS] for a in ENFORCEMENTS] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]
    assert not enough("total", "none") and not enough("namespace", "total")


def test_canonical_refuses_what_json_has_no_word_for() -> None:
    with pytest.raises(ValueError, match="Out of range"):
        canonical({"a": float("nan")})


def test_fields_that_hold_lists_and_maps_are_checked() -> None:
    names = ("a",)
    for bad in ({"a": "x"}, {"a": [1]}, {"a": None}):
        with pytest.raises(UsageError):
            Fields(bad, "thing", names).texts("a")
    maps: list[object] = [{"a": []}, {"a": {"b": 1}}, {"a": None}]
    for bad_map in maps:
        with pytest.raises(UsageError):
            Fields(bad_map, "thing", names).text_map("a")
    with pytest.raises(UsageError):
        Fields({"a": {}}, "thing", names).each("a", str)
    with pytest.raises(UsageError):
        Fields({"a": 1}, "thing", names).flag("a")
    assert parse_canonical(b'{"a":[]}', "thing") == {"a": []}
