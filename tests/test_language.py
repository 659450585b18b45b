"""Everything that a person reads is in plain English: phrases in `tests/language.py` are not used."""

from __future__ import annotations

import pytest

from tests.language import files, problems, prose


def test_no_file_uses_a_phrase_that_has_to_be_read_twice():
    assert not list(problems(files()))


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("page.md", "One row a media.\n\nIt costs 3 ms a\nrequest.", ["1: One row a media", "3: 3 ms a request"]),
        (
            "page.md",
            "A column named `gone`.\n```sql\n-- gone\n```\nWhat is gone goes.",
            ["5: gone", "5: What is gone goes"],
        ),
        ("code.py", '"""Mends."""\nx = 1  # held here\nx = f"{x.gone} went"', ["2: held"]),
        ("view.sql", "SELECT gone\n-- what is beyond", ["2: beyond"]),
        ("page.md", "A run that loads a table. Two media may share a page. Half of a run ends a run.", []),
    ],
)
def test_phrases_are_found_in_prose_and_not_in_code(tmp_path, monkeypatch, name, text, found):
    monkeypatch.setattr("tests.language.ROOT", tmp_path)
    (tmp_path / name).write_text(text)
    assert [line.removeprefix(f"{name}:").rpartition(" (")[0] for line in problems([tmp_path / name])] == found
    assert list(prose(tmp_path / name))
