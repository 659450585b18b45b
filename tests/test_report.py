"""A report as people read it: printed, and in a notebook."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from coreviz_source import DatasetReport, Report
from coreviz_source.errors import AuthenticationError
from coreviz_source.local_studio import Studio
from coreviz_source.report import DatasetReports
from tests.scenario import frozen, run_sync


def report() -> Report:
    first = DatasetReport("a-1", "Spring <Catalogue> [red]", outcome="complete", phase="done", seconds=83.21)
    listed = {"listed": 12345, "new": 12000, "changed": 1, "gone": 2, "rows": {"media": 12001, "captions": 999}}
    second = DatasetReport("a-2", outcome="failed", message="The dataset does not exist. ", exit_code=4)
    extended = DatasetReport(**{**vars(first), **listed, "unknown_fields": ["frames.rating"]})
    return Report("run", DatasetReports.of([extended, second]), warnings=["A view is missing."], seconds=90)


def test_a_printed_report_is_a_table_with_the_messages_and_how_it_ended():
    assert str(report()).splitlines() == [
        "dataset                   outcome                       listed     new  changed  deleted    rows  seconds",
        "Spring <Catalogue> [red]  complete (the whole dataset)  12,345  12,000        1        2  13,000     83.2",
        "a-2                       failed (see the message)           0       0        0        0       0      0.0",
        "a-2: The dataset does not exist.",
        "A view is missing.",
        "Fields without a column, kept in `extra`: frames.rating",
        "2 datasets, 1 with problems; 13,000 rows written in 90.0 s; exit code 4 (dataset not found)",
    ]
    refused = Report("run", errors=[AuthenticationError("There is no key.", remedy="Set one.")], dry_run=True)
    assert str(refused).splitlines() == [
        "There is no key. Set one.",
        "0 datasets; 0 rows would be written in 0.0 s; exit code 3 (key or access)",
    ]


def test_a_notebook_shows_the_report_as_a_table_in_which_a_name_is_no_markup():
    shown = report()._repr_html_()
    assert shown.count("<tr>") == 3 and shown.count("<td") == 16
    assert "Spring &lt;Catalogue&gt; [red]" in shown and "<Catalogue>" not in shown
    assert "<div>a-2: The dataset does not exist.</div>" in shown
    assert "exit code 4 (dataset not found)" in shown


@pytest.fixture
def notebook(monkeypatch):
    """The modules of a notebook's kernel, as far as they are used, and what is drawn there."""
    drawn: list[dict[str, str]] = []
    handle = SimpleNamespace(update=lambda content, raw: drawn.append(content))

    def display(content, raw, display_id):
        drawn.append(content)
        return handle

    made = {"IPython": ModuleType("IPython"), "IPython.display": ModuleType("IPython.display")}
    made["IPython"].get_ipython = object
    made["IPython.display"].display = display
    for name, module in {**made, "ipykernel": ModuleType("ipykernel")}.items():
        monkeypatch.setitem(sys.modules, name, module)
    return drawn


def test_a_run_in_a_notebook_shows_one_line_and_elsewhere_or_with_progress_of_its_own_nothing(
    pipeline, notebook, monkeypatch, capsys
):
    library = frozen(20, datasets=2)
    first, _ = library.datasets
    library.datasets[first].info["name"] = "<b>Spring</b>"
    with Studio(library) as studio:
        run_sync(pipeline, studio)
        assert notebook[-1]["text/plain"].endswith("; 2 of 2 datasets ended")
        assert any("&lt;b&gt;Spring&lt;/b&gt;: done" in line["text/html"] for line in notebook)
        before = len(notebook)
        run_sync(pipeline, studio, progress=lambda event: None)
        monkeypatch.delitem(sys.modules, "ipykernel")
        run_sync(pipeline, studio)
    assert len(notebook) == before
    assert capsys.readouterr().out == ""
