"""Hostile and broken text: one clear error each, at once."""

import pytest
from effort import at_most_calls

from sweepd.errors import DefinitionError
from sweepd.spec import read_definition
from sweepd.spec.document import read_document

GOOD = "method: random\nparameters: {a: {values: [1, 2]}}\n"
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param("# nothing\n", "empty", id="only a comment"),
        pytest.param("- a\n- b\n", "not a list", id="a list"),
        pytest.param("hello", "not plain text", id="text"),
        pytest.param(b"\x89PNG\r\n\x1a\n", "byte 0x89 at offset 0", id="a picture"),
        pytest.param("method: random".encode("utf-16"), "not UTF-8", id="UTF-16"),
        pytest.param("a: \0", "control character U+0000", id="a NUL"),
        pytest.param("a: 1\n" * 2_500_000, "11.9 MiB long", id="10 MB of YAML"),
        pytest.param("[" * 200_000, "nested more than 40", id="deep brackets"),
        pytest.param("".join(" " * i + "a:\n" for i in range(300)), "nested more", id="deep keys"),
        pytest.param(BOMB, "once its aliases are followed", id="a YAML bomb"),
        pytest.param("a: &a [*a]\n", "an alias that holds itself", id="a circle"),
        pytest.param("a: [" + "1," * 200_000 + "]", "more than 50000 values", id="many values"),
        pytest.param("a: *b\n", "not defined above", id="an unknown alias"),
        pytest.param(GOOD + "---\n" + GOOD, "a second document", id="two documents"),
        pytest.param("method: random\nx:\n\ta: 1\n", "a tab", id="a tab"),
        pytest.param("method: [random\n", "not closed", id="an open bracket"),
        pytest.param('method: "random\n', "a quote that is not closed", id="an open quote"),
        pytest.param("name: a: b\n", "a ':' where no key can stand", id="two colons"),
        pytest.param("name: @a\n", "begins with @ needs quotes", id="a reserved sign"),
        pytest.param("a:\n  - b\n c: d\n", "indentation", id="odd indentation"),
    ],
)
def test_text_that_is_no_definition_is_refused_at_once(text, words):
    with pytest.raises(DefinitionError) as caught, at_most_calls(1_000_000):
        read_definition(text)

    assert words in str(caught.value)
    assert len(caught.value.violations) == 1


def test_the_line_of_a_syntax_error_is_told(refusal):
    assert refusal("method: random\nname: a: b\n")[""].line == 2


def test_a_key_given_twice_is_an_error_with_both_lines(refusal):
    text = "method: random\nparameters:\n  lr: {value: 1}\n  lr: {value: 2}\nmethod: grid\n"

    found = refusal(text)

    assert set(found) == {"parameters.lr", "method"}
    assert (found["parameters.lr"].line, found["method"].line) == (4, 5)
    assert "first on line 3" in found["parameters.lr"].message


@pytest.mark.parametrize("key", ["1", "on", "null", "2024-01-01", "[a]"])
def test_a_key_that_yaml_does_not_read_as_text_must_be_quoted(key, refusal):
    found = refusal(f"method: random\nparameters:\n  ? {key}\n  : {{value: 1}}\n")

    assert set(found) == {"parameters"}
    assert "text" in found["parameters"].message


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("!!python/object/apply:os.system [ls]", id="a call"),
        pytest.param("!!binary aGVsbG8=", id="bytes"),
        pytest.param("!!set {a, b}", id="a set"),
        pytest.param("!mine x", id="a tag of one's own"),
    ],
)
def test_tags_that_are_not_plain_data_are_refused(value, refusal):
    found = refusal(f"method: random\nparameters: {{a: {{value: {value}}}}}\n")

    assert "is not allowed" in found["parameters.a.value"].message


@pytest.mark.parametrize("number", [".inf", "-.inf", ".nan", "1e999", "9" * 5000])
def test_numbers_that_json_cannot_hold_are_refused_once(number, refusal):
    found = refusal(f"method: random\nparameters: {{a: {{min: 0, max: {number}}}}}\n")

    assert list(found) == ["parameters.a.max"]


def test_exponents_without_a_dot_are_numbers_with_a_note():
    document = read_document("parameters: {lr: {min: 1e-5, values: [1E3, -2e+1]}}\nname: 1e5\n")

    assert document.data["parameters"]["lr"] == {"min": 1e-5, "values": [1000.0, -20.0]}
    assert document.data["name"] == "1e5"
    assert [warning.path for warning in document.warnings] == [
        "parameters.lr.min",
        "parameters.lr.values[0]",
        "parameters.lr.values[1]",
    ]
    assert "write 1.0e-05" in document.warnings[0].message


def test_a_quoted_exponent_stays_text():
    assert read_document("parameters: {a: {value: '1e-5'}}").data["parameters"]["a"] == {
        "value": "1e-5"
    }


@pytest.mark.parametrize(
    ("text", "value", "words"),
    [
        ("on", True, "YAML reads on as true"),
        ("No", False, "YAML reads No as false"),
        ("1:30", 90, "YAML reads 1:30 as 90"),
        ("010", 8, "YAML reads 010 as 8"),
    ],
)
def test_what_yaml_reads_unexpectedly_is_pointed_out(text, value, words):
    document = read_document(f"parameters: {{a: {{value: {text}}}}}")

    assert document.data["parameters"]["a"]["value"] == value
    assert words in document.warnings[0].message


def test_plain_values_are_read_as_yaml_reads_them():
    text = "a: [1, -2, 0x1f, 1_000, 2.5, 1.0e-3, true, False, null, ~, x, '1', 2024-01-01]"

    document = read_document(text)

    expected = [1, -2, 31, 1000, 2.5, 0.001, True, False, None, None, "x", "1", "2024-01-01"]
    assert document.data["a"] == expected
    assert document.warnings == []


def test_anchors_and_merges_are_followed():
    document = read_document("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a]\n")

    assert document.data["b"] == {"x": 1, "y": 3}
    assert document.data["c"] == [{"x": 1, "y": 2}]


def test_a_byte_order_mark_and_windows_line_ends_are_taken():
    parsed = read_definition(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())

    assert parsed.definition.method == "random"


def test_json_is_a_definition_too():
    text = '{"method": "random",\n"parameters": {"a": {"values": [1, null]}}}'

    assert read_definition(text).definition.space.size == 2
