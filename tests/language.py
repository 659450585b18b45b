"""Keeps phrases out of the project that read like a translation: `python -m tests.language` lists them.

It reads docstrings, comments and messages in Python (in tests only the first two), and the prose in Markdown, SQL, TOML
and YAML. Code in fences or backticks is left out: a column may be named `gone`.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("coreviz_source", "tests", "docs", "benchmarks", "pipelines", ".dlt", ".github")
SUFFIXES = (".md", ".py", ".sql", ".toml", ".yml", ".example")
#: Generated from other files, which are read, or words of others.
EXCLUDED = (
    "docs/sql_bigquery.sql",
    "tests/data",
    "tests/language.py",
    "tests/test_language.py",
    "benchmarks/.",
)

_UNIT = r"(?:request|run|media|table|file|line|load|second|minute|hour|day|dataset|item|page|row|query|core)"
_COUNTED = (
    r"(?:rows|lines|items|requests|pages|queries|statements|seconds|bytes|files|tables|media|MB|GB|ms|s|"
    r"(?:an?|one|two|three|\d[\d.,]*) \w+)"
)
#: What is found, and what to write.
PATTERNS = {
    rf"\b{_COUNTED} a {_UNIT}\b(?! (?:that|which|of|is|was|with|loads|holds|may|fails)\b)": "per",
    r"\b(?:is|are|was|were|be|been) told\b": "is reported",
    r"\b(?:says?|said) so\b": "reports it",
    r"(?<![.\w])gone\b": "deleted, missing",
    r"\bmend(?:s|ed|ing)?\b": "repair",
    r"(?-i:\bheld\b)": "stored, locked",
    r"\bbeyond\b": "outside, after, more than",
    r"\ba text\b": "a string",
    r"\bwhat is \w+ goes\b": "name the subject",
    r"\bwhat (?:is|was) (?:told|missing|left|new) (?:is|was)\b": "name the subject",
    r"\bfor ever\b": "forever",
    r"\banew\b": "again",
    r"\bspeaks? of\b": "mentions",
    r"\bon a timer\b|\bfor a timer\b|\bthe timer\b": "schedule",
    r"\ball the same\b": "anyway, still",
    r"\bgo(?:es)? on\b": "continue",
    r"\b(?:API|server|service|endpoint)'s answers?\b": "response",
    r"\bsomebody's\b": "name whose",
    r"\bwithout end\b|\bcomes? to an end\b": "endless, ends",
    r"\bthe holder\b": "the run that has the lock",
}
# a phrase may be broken by the end of a line
_ALL = [(re.compile(pattern.replace(" ", r"\s+"), re.IGNORECASE), instead) for pattern, instead in PATTERNS.items()]
_FENCE = re.compile(r"```(?!text|mermaid).*?```", re.DOTALL)
_EXPRESSION = re.compile(r"\{[^{}]*\}")
_CODE = re.compile(r"`[^`\n]*`")


def _blanked(match: re.Match[str]) -> str:
    """The same number of lines without the words."""
    return re.sub(r"[^\n]", "·", match[0])


def _python(text: str, *, messages: bool) -> Iterator[tuple[int, str]]:
    """Comments and docstrings, and strings of several words, which are messages."""
    kinds = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        text = token.string
        if token.type not in kinds or " " not in text or text.startswith(("r'", 'r"')):
            continue
        if messages or token.type == tokenize.COMMENT or text.startswith('"""'):
            # before Python 3.12 an f-string is one token, with the expressions in it
            yield token.start[0], _EXPRESSION.sub(_blanked, text)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The parts of a file that are read as English, each with its first line."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield from _python(text, messages=not path.is_relative_to(ROOT / "tests"))
    elif path.suffix == ".sql":
        yield from ((n, line) for n, line in enumerate(text.splitlines(), 1) if line.lstrip().startswith("--"))
    elif path.suffix in (".toml", ".yml", ".example"):
        yield from ((n, line) for n, line in enumerate(text.splitlines(), 1) if "#" in line or "description" in line)
    else:
        yield 1, _FENCE.sub(_blanked, text)


def files() -> list[Path]:
    """The files that are read."""
    found = [path for suffix in SUFFIXES for path in ROOT.glob(f"*{suffix}")]
    found += [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    return sorted(path for path in found if not path.relative_to(ROOT).as_posix().startswith(EXCLUDED))


def problems(paths: list[Path]) -> Iterator[str]:
    """Phrases to write in another way, as `file:line: phrase (instead)`."""
    for path in paths:
        for first, text in prose(path):
            text = _CODE.sub(_blanked, text)
            for pattern, instead in _ALL:
                for match in pattern.finditer(text):
                    line = first + text.count("\n", 0, match.start())
                    phrase = " ".join(match[0].split())
                    yield f"{path.relative_to(ROOT)}:{line}: {phrase} ({instead})"


if __name__ == "__main__":
    found = list(problems(files()))
    print(*found, sep="\n")
    sys.exit(f"{len(found)} phrases" if found else 0)
