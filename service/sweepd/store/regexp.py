r"""Regular expressions whose matching time is linear in the text, whatever the pattern.

Patterns come from clients. Python's own engine backtracks, so that a few characters such as
`(a+)+$` can hold the whole service for hours. This one follows all alternatives at once (Thompson
1968) and remembers the sets of positions that it has seen. It knows literals, `.`, classes,
`\d \w \s` and their opposites, `^ $`, groups, `|`, `* + ? {m,n}` and a leading `(?i)`; it answers
whether there is a match, not where, so that greedy and lazy repeats are the same to it.
"""

import re
from collections.abc import Callable

from sweepd.errors import ProtocolError

__all__ = ["MAX_PATTERN", "Regexp"]

MAX_PATTERN = 500  # characters
_MAX_NODES = 1_000  # after {m,n} is written out
_MAX_DEPTH = 50  # of groups
_MAX_MEMO = 5_000  # remembered moves of one pattern

_Test = Callable[[str], object]
_START, _END = "^", "$"


class _Node:
    """One position in the pattern: reads a character, splits, or asks to be at an end."""

    __slots__ = ("anchor", "nexts", "test")

    def __init__(self, test: _Test | None = None, anchor: str | None = None) -> None:
        self.test, self.anchor = test, anchor
        self.nexts: list[_Node] = []


class _Part:
    """A piece of the automaton: where it is entered, and the node that it is left by."""

    __slots__ = ("entry", "exit")

    def __init__(self, entry: _Node, exit_: _Node) -> None:
        self.entry, self.exit = entry, exit_


class Regexp:
    """A compiled pattern.

    Raises:
        ProtocolError: if the pattern is malformed, too long, or uses what is not supported
            (backreferences, lookaround, named groups, flags other than a leading `(?i)`).
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise ProtocolError(
                f"$regex: the pattern has {len(pattern)} characters, at most {MAX_PATTERN} may be"
            )
        whole = _Parser(pattern).parse()
        self._final = whole.exit
        self._entry = whole.entry
        self._memo: dict[tuple[frozenset[_Node], str], frozenset[_Node]] = {}

    def search(self, text: str) -> bool:
        """Return whether the pattern matches somewhere in `text`."""
        final, memo = self._final, self._memo
        restart = self._close([self._entry], is_start=False, is_end=False)
        nodes = self._close([self._entry], is_start=True, is_end=not text)
        for index, char in enumerate(text):
            if final in nodes:
                return True
            if index == len(text) - 1:
                reached = [
                    after for node in nodes if node.test and node.test(char) for after in node.nexts
                ]
                nodes = self._close([*reached, self._entry], is_start=False, is_end=True)
                break
            move = (nodes, char)
            found = memo.get(move)
            if found is None:
                reached = [
                    after for node in nodes if node.test and node.test(char) for after in node.nexts
                ]
                found = self._close(reached, is_start=False, is_end=False) | restart
                if len(memo) >= _MAX_MEMO:
                    memo.clear()
                memo[move] = found
            nodes = found
        return final in nodes

    @staticmethod
    def _close(nodes: list[_Node], *, is_start: bool, is_end: bool) -> frozenset[_Node]:
        """Return the nodes and all that can be reached from them without reading a character."""
        seen: set[_Node] = set()
        waiting = list(nodes)
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            if node.test is not None:
                continue
            if node.anchor == _START and not is_start:
                continue
            if node.anchor == _END and not is_end:
                continue
            waiting.extend(node.nexts)
        return frozenset(seen)


class _Parser:
    """Reads a pattern by recursive descent and builds its automaton."""

    def __init__(self, pattern: str) -> None:
        self._flags = re.DOTALL
        if pattern.startswith("(?i)"):
            self._flags |= re.IGNORECASE
            pattern = pattern[4:]
        self._text, self._at = pattern, 0
        self._n_nodes = self._depth = 0

    def parse(self) -> _Part:
        part = self._alternatives()
        if self._at < len(self._text):
            raise self._error("unbalanced )")
        return part

    def _error(self, problem: str) -> ProtocolError:
        return ProtocolError(f"$regex: {problem} at character {self._at + 1} of {self._text!r}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _node(self, test: _Test | None = None, anchor: str | None = None) -> _Node:
        self._n_nodes += 1
        if self._n_nodes > _MAX_NODES:
            raise self._error("the pattern is too large once its repeats are written out")
        return _Node(test, anchor)

    def _alternatives(self) -> _Part:
        parts = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence())
        if len(parts) == 1:
            return parts[0]
        entry, exit_ = self._node(), self._node()
        for part in parts:
            entry.nexts.append(part.entry)
            part.exit.nexts.append(exit_)
        return _Part(entry, exit_)

    def _sequence(self) -> _Part:
        start = self._node()
        end = start
        while self._peek() not in ("", "|", ")"):
            part = self._repeated()
            end.nexts.append(part.entry)
            end = part.exit
        return _Part(start, end)

    def _repeated(self) -> _Part:
        begin = self._at
        part = self._atom()
        after = self._at
        least, most = self._repeat()
        if (least, most) == (1, 1):
            return part
        if self._peek() == "?":  # lazy: the same to us
            self._at += 1
        if self._peek() and self._peek() in "*+?{":
            raise self._error("a repeat of a repeat is not supported, use a group")
        resume = self._at
        start = self._node()
        end = start
        for number in range(max(least, 1) if most is None else most):
            self._at = begin  # each further copy is read again from the text
            copy = self._atom()
            if self._at != after:
                raise self._error("malformed repeat")
            if number >= least:  # optional
                skip = self._node()
                skip.nexts += [copy.entry]
                leave = self._node()
                skip.nexts.append(leave)
                copy.exit.nexts.append(leave)
                end.nexts.append(skip)
                end = leave
            else:
                end.nexts.append(copy.entry)
                end = copy.exit
            if most is None and number == max(least, 1) - 1:
                copy.exit.nexts.append(copy.entry)
        self._at = resume
        return _Part(start, end)

    def _repeat(self) -> tuple[int, int | None]:
        """Read a repeat's bounds if one stands here; (1, 1) if none does."""
        sign = self._peek()
        if sign and sign in "*+?":
            self._at += 1
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        found = re.compile(r"\{(\d{1,3})(,?)(\d{0,3})\}", re.ASCII).match(self._text, self._at)
        if found is None:
            return 1, 1
        self._at = found.end()
        least = int(found[1])
        most = (int(found[3]) if found[3] else None) if found[2] else least
        if most is not None and most < least:
            raise self._error("a repeat's bounds are the wrong way round")
        return least, most

    def _atom(self) -> _Part:
        char = self._peek()
        if char == "(":
            return self._group()
        if char in ("*", "+", "?"):
            raise self._error("nothing to repeat")
        if char in (_START, _END):
            self._at += 1
            anchor, after = self._node(anchor=char), self._node()
            anchor.nexts.append(after)
            return _Part(anchor, after)
        source = self._class() if char == "[" else self._single()
        try:
            test = re.compile(source, self._flags).fullmatch
        except re.error as error:
            raise self._error(f"{error.msg}") from None
        node, exit_ = self._node(test), self._node()
        node.nexts.append(exit_)
        return _Part(node, exit_)

    def _group(self) -> _Part:
        self._at += 1
        if self._text.startswith("?", self._at):
            if not self._text.startswith("?:", self._at):
                raise self._error("of the (?…) forms only (?:…) and a leading (?i) are supported")
            self._at += 2
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._error("groups are nested too deep")
        part = self._alternatives()
        self._depth -= 1
        if self._peek() != ")":
            raise self._error("a group is not closed")
        self._at += 1
        return part

    def _single(self) -> str:
        """Read one character, `.` or an escape, and return it as a pattern of its own."""
        char = self._peek()
        self._at += 1
        if char == ".":
            return "."
        if char != "\\":
            return re.escape(char)
        escaped = self._peek()
        self._at += 1
        if not escaped:
            raise self._error("the pattern ends with a backslash")
        if escaped in "dwsDWSntrfv":
            return f"\\{escaped}"
        if escaped.isalnum():
            raise self._error(f"\\{escaped} is not supported")
        return re.escape(escaped)

    def _class(self) -> str:
        """Read a `[…]` and return it, with what Python reserves for set operations escaped."""
        found = re.compile(r"\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL).match(self._text, self._at)
        if found is None:
            raise self._error("a [ is not closed")
        self._at = found.end()
        return "[" + re.sub(r"\\.|--|[\[&~|]", _escape_set, found[0][1:], flags=re.DOTALL)


def _escape_set(found: re.Match[str]) -> str:
    text = found[0]
    if text == "--":
        return "-\\-"
    return text if text.startswith("\\") else f"\\{text}"
