"""What a search means, for `coreviz-source search`, Python and the dashboard, in every warehouse.

A query is a list of terms, and each of them must occur. A term is a word, or a phrase in quotes; one with a hyphen
before it must not occur. Each term becomes one regular expression, which DuckDB, Postgres and BigQuery read alike. It
spells out letters in both cases and the ends of words, because a Postgres with the locale C knows neither of them
outside of ASCII.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from coreviz_source.errors import ConfigurationError
from coreviz_source.values import clean_text
from coreviz_source.warehouse.destination import SEARCH_VECTOR, by_dialect

#: The dialect that conditions are written in.
WRITTEN = "bigquery"
#: The greatest number of terms in a query.
MOST_TERMS = 32
#: The tables that a search reads.
SEARCHED = ("captions", "media", "frames", "datasets")
#: What a search finds: the columns of the view `caption_search` without folder and tags. It does not need the view.
FOUND = {
    "dataset_id": "c.dataset_id",
    "dataset_name": "d.name",
    "media_id": "c.media_id",
    "media_name": "m.name",
    "file_name": "m.file_name",
    "media_type": "m.type",
    "media_created_at": "m.created_at",
    "blob": "m.blob",
    "frame_id": "c.frame_id",
    "timestamp_seconds": "f.timestamp_seconds",
    "page_number": "f.page_number",
    "frame_blob": "f.blob",
    "caption_id": "c.id",
    "caption": "c.text",
    "model": "c.model",
    "caption_created_at": "c.created_at",
}
#: The condition is inside, next to `captions`: DuckDB would otherwise join all captions first.
_SEARCH = """
SELECT {columns} FROM (
    SELECT {found}
    FROM captions c
    JOIN media m ON m.dataset_id = c.dataset_id AND m.id = c.media_id AND m.deleted_at IS NULL
    LEFT JOIN frames f ON f.dataset_id = c.dataset_id AND f.media_id = c.media_id AND f.id = c.frame_id
    LEFT JOIN datasets d ON d.id = c.dataset_id
    WHERE {matches} AND COALESCE(c.status, '') <> 'deleted' AND COALESCE(f.status, '') <> 'deleted'
) AS found
ORDER BY media_created_at IS NULL, media_created_at DESC, media_id, timestamp_seconds, page_number, caption_id
"""
#: In a condition, the function that only Postgres has: whether a caption has the words in any grammatical form.
_STEMS = "CAPTION_HAS_STEMS"
_STEMS_SQL = (
    f"this_id IN (SELECT id FROM captions WHERE {SEARCH_VECTOR.format(text='text')} "
    "@@ phraseto_tsquery('english', these_words))"
)
_PARAMETER = re.compile(r"%\((\w+)\)s")
_TERMS = re.compile(r'(-?)"([^"]*)(?:"|$)|(\S+)')
_QUOTES = str.maketrans("“”„\0", '""" ')
#: What is typed for the same character.
_ALIKE = {"'": "'’", "’": "'’", "-": "-‐‑", "‐": "-‐‑", "‑": "-‐‑"}
#: Scripts that are written without spaces, such as Chinese, Japanese and Thai, or with endings on words, as Korean.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u2e80-\u2fdf\u3005-\u3007\u3040-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\uff66-\uffdc\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
_SPACE = "[ \t\n\r\f\v\u00a0\u2000-\u200a\u202f\u205f\u3000]+"
_SPECIAL = re.compile(r"[\\.^$*+?()\[\]{}|]")
#: No letter with another case is behind this one.
_LAST_CASED = 0x1E943


@dataclass(frozen=True)
class Term:
    """A word or a phrase.

    Attributes:
        text: As it was typed, without quotes.
        excluded: Whether it must not occur.
    """

    text: str
    excluded: bool = False

    @cached_property
    def pattern(self) -> str:
        """The regular expression of the texts in which it occurs.

        Where the term begins or ends with a letter or digit, none may stand beside it. Scripts without spaces are
        matched inside of longer texts.
        """
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", self.text).casefold())
        words = word_characters()
        begin = f"(?:^|[^{words}])" if re.match(f"[{words}]", folded) else ""
        end = f"(?:[^{words}]|$)" if re.match(f"[{words}]", folded[-1:]) else ""
        return begin + _SPACE.join(map(_in_any_case, folded.split())) + end

    @property
    def has_stems(self) -> bool:
        """Whether its words can have other grammatical forms in English."""
        return bool(re.fullmatch(r"[A-Za-z0-9'’ -]*", self.text) and re.search("[A-Za-z]", self.text))


def parse(query: str) -> tuple[Term, ...]:
    """The terms of a query; none if it is empty.

    A quote that is never closed begins a phrase that ends with the query. Inside a word, quotes and hyphens are
    characters like others. Punctuation marks behind a word do not belong to it.
    """
    text = clean_text(query).translate(_QUOTES)
    terms = []
    for hyphen, phrase, word in _TERMS.findall(text):
        if word and re.match("-[^-]", word):
            hyphen, word = "-", word[1:]
        word = word.rstrip(".,;:!?") or word
        if found := " ".join((word or phrase).split()):
            terms.append(Term(found, bool(hyphen)))
    return tuple(dict.fromkeys(terms)) or ((Term(" ".join(text.split())),) if text.split() else ())


def checked_terms(query: str) -> tuple[Term, ...]:
    """The terms of a query.

    Raises:
        ConfigurationError: It is empty, or has too many terms.
    """
    terms = parse(query)
    if not terms:
        raise ConfigurationError("The query is empty.", remedy="Give at least one word.")
    if len(terms) > MOST_TERMS:
        raise ConfigurationError(f"The query has more than {MOST_TERMS} words.", remedy="Leave out some of them.")
    return terms


def matches(column: str, terms: Sequence[Term], caption_id: str = "") -> str:
    """The condition, in BigQuery's SQL, that a string matches a query.

    Args:
        column: The text.
        terms: All terms of the query.
        caption_id: The column with the caption's id if the text is a caption. Postgres then finds word stems too.
    """
    return f"{has_required(column, terms, caption_id)} AND NOT {has_excluded(column, terms, caption_id)}"


def has_required(column: str, terms: Sequence[Term], caption_id: str = "") -> str:
    """The part of `matches()` that is about the terms that must occur."""
    return f"({' AND '.join(_occur(column, terms, caption_id, False)) or 'TRUE'})"


def has_excluded(column: str, terms: Sequence[Term], caption_id: str = "") -> str:
    """The condition that one of the terms occurs that must not."""
    return f"({' OR '.join(_occur(column, terms, caption_id, True)) or 'FALSE'})"


def _occur(column: str, terms: Sequence[Term], caption_id: str, excluded: bool) -> Iterator[str]:
    for number, term in enumerate(terms):
        if term.excluded is excluded:
            occurs = f"COALESCE(REGEXP_CONTAINS({column}, @word{number}), FALSE)"
            if caption_id and term.has_stems:
                occurs = f"({occurs} OR {_STEMS}({caption_id}, @stem{number}))"
            yield occurs


def values(terms: Sequence[Term]) -> dict[str, str]:
    """The parameters that these conditions name."""
    found = {f"word{number}": term.pattern for number, term in enumerate(terms)}
    return found | {f"stem{number}": term.text for number, term in enumerate(terms)}


def statement(sql: str, dialect: str, path: Callable[[str], list[str]]) -> tuple[str, tuple[str, ...]]:
    """A query as a warehouse reads it, with `%s` for its parameters, and their names in order.

    Args:
        sql: The query, in BigQuery's SQL, with plain names of tables and `@name` for parameters.
        dialect: sqlglot's name of the warehouse's SQL.
        path: Returns the parts of a table's full name: catalog, schema, table.
    """
    import sqlglot
    from sqlglot import exp

    tree = with_stems(sqlglot.parse_one(sql, read=WRITTEN), dialect)
    for table in tree.find_all(exp.Table):
        parts = [exp.to_identifier(part) for part in path(table.name)]
        for key, part in zip(("this", "db", "catalog"), reversed(parts), strict=False):
            table.set(key, part)
    return with_parameters(tree, dialect)


def with_parameters(tree: Any, dialect: str) -> tuple[str, tuple[str, ...]]:
    """A parsed query as a warehouse reads it, with `%s` for its parameters, and their names in order.

    Args:
        tree: The query, with `@name` for parameters; it is changed.
        dialect: sqlglot's name of the warehouse's SQL.
    """
    from sqlglot import exp

    for parameter in list(tree.find_all(exp.Parameter)):
        parameter.replace(exp.Var(this=f"%({parameter.name})s"))
    rendered = tree.sql(dialect, identify=True)
    return _PARAMETER.sub("%s", rendered), tuple(_PARAMETER.findall(rendered))


def search_sql(terms: Sequence[Term], columns: Iterable[str] = FOUND) -> str:
    """The query, in BigQuery's SQL, that finds captions, newest media items first; those without a date come last.

    Args:
        terms: All terms of the query.
        columns: The columns to select; keys of `FOUND`.
    """
    found = ", ".join(f"{expression} AS {name}" for name, expression in FOUND.items())
    return _SEARCH.format(columns=", ".join(columns), found=found, matches=matches("c.text", terms, caption_id="c.id"))


def search_tree(terms: Sequence[Term], dialect: str) -> Any:
    """The query of `search_sql()`, parsed by sqlglot, with the words of the terms in it instead of parameters.

    Args:
        terms: All terms of the query.
        dialect: sqlglot's name of the warehouse's SQL.
    """
    import sqlglot
    from sqlglot import exp

    given = values(terms)
    tree = with_stems(sqlglot.parse_one(search_sql(terms), read=WRITTEN), dialect)
    for parameter in list(tree.find_all(exp.Parameter)):
        parameter.replace(exp.Literal.string(given[parameter.name]))
    return tree


def with_stems(tree: Any, dialect: str) -> Any:
    """A parsed query with word stems as the warehouse has them: found by the index in Postgres, elsewhere none.

    Args:
        tree: The query, parsed by sqlglot.
        dialect: sqlglot's name of the warehouse's SQL.
    """
    import sqlglot
    from sqlglot import exp

    def stems(node: Any) -> Any:
        if not (isinstance(node, exp.Anonymous) and node.name.upper() == _STEMS):
            return node
        if not by_dialect(dialect).search_vector:
            return exp.false()
        of_captions = sqlglot.parse_one(_STEMS_SQL, read=dialect)
        given = dict(zip(("this_id", "these_words"), node.expressions, strict=True))
        return of_captions.transform(
            lambda inner: given.get(inner.name, inner) if isinstance(inner, exp.Column) else inner
        )

    return tree.transform(stems)


@cache
def word_characters() -> str:
    """The letters, digits and marks of scripts that are written with spaces, as ranges of a regular expression."""
    ranges: list[list[str]] = []
    is_open = False
    for code in range(0x20000):
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Cn", "Co", "Cs"):
            # without a meaning yet: whatever is beside it
            continue
        if category[0] in "LMN" and not _WITHOUT_SPACES.match(character):
            ranges[len(ranges) - is_open :] = [[ranges[-1][0] if is_open else character, character]]
            is_open = True
        else:
            is_open = False
    return "".join(first if first == last else f"{first}-{last}" for first, last in ranges)


@cache
def _cased() -> dict[str, str]:
    """The characters that differ only in case from what they become when case does not count."""
    found: dict[str, str] = {}
    for character in map(chr, range(_LAST_CASED + 1)):
        folded = character.casefold()
        if folded != character:
            found[folded] = found.get(folded, "") + character
    return found


def _in_any_case(word: str) -> str:
    """The regular expression of a word, given in folded case."""
    parts = []
    at = 0
    while at < len(word):
        # ß and ss differ only in case
        size = next((size for size in (3, 2) if word[at : at + size] in _cased() and at + size <= len(word)), 1)
        piece = word[at : at + size]
        letters = "".join(map(_letter, piece))
        parts.append(letters if size == 1 else f"(?:{letters}|[{_cased()[piece]}])")
        at += size
    return "".join(parts)


def _letter(character: str) -> str:
    """The regular expression of a character, in either case and in either form of its accents."""
    same = _ALIKE.get(character) or character + _cased().get(character, "")
    single = _SPECIAL.sub(r"\\\g<0>", same) if len(same) == 1 else f"[{same}]"
    apart = [form for one in same if (form := unicodedata.normalize("NFD", one)) != one]
    return f"(?:{'|'.join([single, *apart])})" if apart else single
