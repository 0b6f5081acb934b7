import re
import sqlite3

import pytest
from effort import at_most_calls
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sweepd.errors import ProtocolError
from sweepd.store.functions import MATCHES, register_functions
from sweepd.store.regexp import Regexp

ATOMS = st.sampled_from(["a", "b", "c", ".", "[ab]", "[^a]", r"\d", r"\.", "^", "$", "-", "[]a]"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(pattern=PATTERNS, text=st.text("abc.1-", max_size=8))
@example(pattern="^(ab|a)(c|bcd)$", text="abcd")
@example(pattern="(a*)*$", text="b")
@example(pattern="", text="")
@example(pattern="(?i)ÄB", text="xäb")
@example(pattern="[[a]x", text="[x")
@example(pattern="[+--]c", text="-c")
def test_same_answer_as_pythons_engine(pattern, text):
    # `$` here is the very end only, which Python writes \Z.
    expected = re.search(_escaped(pattern), text, re.DOTALL) is not None

    assert Regexp(pattern).search(text) == expected


def _escaped(pattern):
    """Spell a pattern as Python wants it: no warnings about sets to come."""
    return pattern.replace("$", r"\Z").replace("[[a]", r"[\[a]").replace("[+--]", r"[+-\-]")


@pytest.mark.parametrize(
    "pattern", ["(a+)+$", "^(a|a)*$", "(a|aa)+$", ".*.*.*.*.*x", "(?:a?){30}a{30}$", "(.*a){9}x"]
)
def test_catastrophic_pattern_takes_no_time(pattern):
    with at_most_calls(100_000):
        assert not Regexp(pattern).search("a" * 3000 + "!")


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("(", "a group is not closed at character 2"),
        ("a)", "unbalanced"),
        ("[", "not closed"),
        ("*", "nothing to repeat"),
        ("a**", "repeat of a repeat"),
        ("a{3,2}", "wrong way round"),
        ("\\", "ends with a backslash"),
        (r"(a)\1", r"\\1 is not supported"),
        (r"\bword", r"\\b is not supported"),
        ("(?=a)", "only"),
        ("(?P<n>a)", "only"),
        ("[z-a]", "bad character range"),
        ("x" * 501, "at most 500"),
        ("((a{99}){99}){99}", "too large"),
        ("(" * 60 + ")" * 60, "nested too deep"),
    ],
)
def test_pattern_that_is_wrong_or_not_supported_is_refused_in_words(pattern, words):
    with pytest.raises(ProtocolError, match=words):
        Regexp(pattern)


def test_brace_that_is_no_repeat_is_itself():
    assert Regexp("a{x}").search("a{x}")


def test_sql_function_matches_texts_only():
    connection = sqlite3.connect(":memory:")
    register_functions(connection)

    def matches(pattern, value):
        return connection.execute(f"SELECT {MATCHES}(?, ?)", (pattern, value)).fetchone()[0]

    assert matches("^a", "abc") == 1
    assert matches("^b", "abc") == 0
    assert matches(".", 1) == 0
    assert matches(".", None) == 0
    assert matches("(", "(") == 0
    connection.close()
