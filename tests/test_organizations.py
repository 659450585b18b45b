"""All organizations of an account are asked, a refusal loses nothing, and their names are rows."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from starlette.responses import Response

from coreviz_source.api.studio import Account, Organization
from coreviz_source.cli import main
from coreviz_source.commands.forget import Subject, find_rows, forget
from coreviz_source.commands.status import read_status
from coreviz_source.local_studio import Studio
from coreviz_source.values import canonical_id
from tests.scenario import assert_equal_to, frozen, media_of, run, run_sync
from tests.warehouse import assert_mirror, load_ids, query, read, runs

FIRST, SECOND, THIRD = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")


def bare(item_id: str) -> str:
    return item_id.replace("-", "")


class Organizations:
    """A `before` hook: an account with several organizations, each with some of the datasets.

    Args:
        datasets: The ids of the datasets of each organization.
        listed: Whether there is a list of organizations; else only the default one is known, the first.
        wrapped: Whether lists stand inside an object.
        refused: Statuses of organizations that refuse.
    """

    def __init__(
        self,
        datasets: dict[str, list[str]],
        listed: int = 200,
        wrapped: bool = True,
        refused: dict[str, int] | None = None,
    ) -> None:
        self.datasets = datasets
        self.listed = listed
        self.wrapped = wrapped
        self.refused = refused or {}
        self.names: dict[str, Any] = {o: f"Name of {o[0]}" for o in datasets}
        self.slugs: dict[str, Any] = {o: f"slug-{o[0]}" for o in datasets}

    def _list(self, key: str, found: list[Any]) -> Any:
        return {key: found} if self.wrapped else found

    def __call__(self, request: Any) -> Any:
        match request.path.strip("/").split("/"):
            case ["api", "auth", "organization", "list"]:
                if self.listed != 200:
                    return Response(b'{"error": "Not found"}', self.listed)
                found = [{"id": bare(o), "name": self.names[o], "slug": self.slugs[o]} for o in self.datasets]
                return self._list("organizations", found)
            case ["api", "me"]:
                default = next(iter(self.datasets))
                return {"userId": "u", "organizationId": bare(default), "organizationName": self.names[default]}
            case ["api", "organization", organization, "datasets"]:
                organization = canonical_id(organization)
                if organization in self.refused:
                    status = self.refused[organization]
                    return Response(b'{"error": "Failed", "message": "Not for you"}', status)
                found = [{"id": bare(d), "name": f"Dataset {d[:3]}"} for d in self.datasets[organization]]
                return self._list("datasets", found)
        return None


@pytest.fixture
def library():
    return frozen(30, datasets=3)


@pytest.fixture
def studio(library):
    one, two, three = library.datasets
    with Studio(library) as studio:
        studio.before = Organizations({FIRST: [one, two], SECOND: [three]})
        yield studio


def sync_all(pipeline, studio, **given):
    return run_sync(pipeline, studio, dataset_ids=None, **given)


def organizations(*rows: tuple[str, str | None, str | None]) -> list[dict[str, Any]]:
    return [dict(zip(("id", "name", "slug"), row, strict=True)) for row in rows]


BOTH = organizations((FIRST, "Name of a", "slug-a"), (SECOND, "Name of b", "slug-b"))


def stored(pipeline) -> list[dict[str, Any]]:
    return sorted(read(pipeline, "organizations")["organizations"], key=lambda row: row["id"])


@pytest.mark.parametrize("wrapped", [True, False])
def test_the_datasets_of_all_organizations_are_mirrored_and_an_unchanged_account_writes_no_row(
    pipeline, studio, wrapped
):
    studio.before.wrapped = wrapped
    one, two, three = studio.library.datasets
    report = sync_all(pipeline, studio)
    assert (report.exit_code, report.warnings) == (0, [])
    assert [d.organization for d in report.datasets.values()] == ["Name of a", "Name of a", "Name of b"]
    assert_equal_to(pipeline, studio)
    assert stored(pipeline) == BOTH
    owners = query(pipeline, "SELECT id, organization_id FROM datasets ORDER BY 1")
    assert owners == sorted([(one, FIRST), (two, FIRST), (three, SECOND)])
    before = load_ids(pipeline)
    assert sync_all(pipeline, studio, reconcile_every="0").exit_code == 0
    assert load_ids(pipeline) == before


def test_only_the_organization_that_changed_is_written_and_one_that_left_the_account_keeps_its_row(pipeline, studio):
    assert sync_all(pipeline, studio).exit_code == 0
    before = load_ids(pipeline)["organizations"]
    studio.before.names[SECOND], studio.before.slugs[SECOND] = "Renamed \0", None
    assert sync_all(pipeline, studio).exit_code == 0
    renamed = organizations((FIRST, "Name of a", "slug-a"), (SECOND, "Renamed \0", None))
    assert stored(pipeline) == renamed
    assert (load_ids(pipeline)["organizations"] & before).total() == 1
    del studio.before.datasets[SECOND]
    assert sync_all(pipeline, studio).exit_code == 0
    assert stored(pipeline) == renamed


def test_an_organization_that_is_stored_twice_or_by_hand_is_stored_once_after_the_next_run(pipeline, studio):
    assert sync_all(pipeline, studio).exit_code == 0
    with pipeline.sql_client() as client:
        client.execute_sql("INSERT INTO organizations SELECT * FROM organizations")
        client.execute_sql("UPDATE organizations SET name = 'by hand' WHERE id = %s", SECOND)
    assert sync_all(pipeline, studio).exit_code == 0
    assert stored(pipeline) == BOTH


def test_an_account_without_any_dataset_has_its_organizations_all_the_same(pipeline, studio):
    studio.before.datasets = {FIRST: [], SECOND: []}
    assert sync_all(pipeline, studio).exit_code == 0
    assert stored(pipeline) == BOTH


def test_a_plain_run_writes_them_too_and_warns_of_one_that_refuses(pipeline, studio, caplog):
    studio.before.refused = {SECOND: 403}
    run(pipeline, studio, dataset_ids=None)
    assert stored(pipeline) == BOTH
    assert f"The organization Name of b ({SECOND}) could not be asked" in caplog.text
    before = load_ids(pipeline)
    run(pipeline, studio, dataset_ids=None, reconcile_every="0")
    assert load_ids(pipeline) == before


def test_a_plain_run_of_some_tables_without_organizations_writes_none(pipeline, studio):
    from coreviz_source import coreviz
    from tests.scenario import arguments

    pipeline.run(coreviz(**arguments(studio, {"dataset_ids": None})).with_resources("media"))
    assert "organizations" not in {row[0] for row in query(pipeline, "SELECT table_name FROM duckdb_tables()")}


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_without_a_list_of_organizations_the_default_one_is_asked(pipeline, studio, status):
    one, two, _ = studio.library.datasets
    studio.before.listed = status
    report = sync_all(pipeline, studio)
    assert (report.exit_code, list(report.datasets)) == (0, [one, two])
    assert stored(pipeline) == organizations((FIRST, "Name of a", None))


def test_an_empty_list_of_organizations_is_no_answer(pipeline, studio):
    account = studio.before
    empty = {"organizations": []}
    studio.before = lambda request: empty if request.path.endswith("organization/list") else account(request)
    assert len(sync_all(pipeline, studio).datasets) == 2


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_list_of_organizations_that_fails_is_not_taken_for_one_that_does_not_exist(pipeline, studio, status):
    studio.before.listed = status
    report = sync_all(pipeline, studio)
    assert (report.exit_code, report.datasets) == (5, {})


def test_the_2025_generation_with_named_datasets_has_an_empty_table(pipeline, library):
    with Studio(library, 2025) as studio:
        assert run_sync(pipeline, studio).exit_code == 0
        assert stored(pipeline) == []
        assert sync_all(pipeline, studio).exit_code == 2
        assert not any("organization" in request.path for request in studio.requests[:-2])


@pytest.mark.parametrize("form", [str, bare, str.upper])
def test_organization_ids_restrict_in_any_form(pipeline, studio, form):
    _, _, three = studio.library.datasets
    report = sync_all(pipeline, studio, organization_ids=[form(SECOND)])
    assert (report.exit_code, list(report.datasets)) == (0, [three])
    assert stored(pipeline) == BOTH[1:]
    assert_mirror(pipeline, {three: studio.snapshot(three)})


def test_an_organization_that_the_account_does_not_see_is_named_with_those_that_it_sees(pipeline, studio):
    report = sync_all(pipeline, studio, organization_ids=[SECOND, bare(THIRD)])
    assert report.exit_code == 2
    (error,) = report.errors
    assert all(name in str(error) for name in (THIRD, FIRST, SECOND, "Name of a", "Name of b"))
    assert error.message == f"The account does not see the organization {THIRD}."


def test_a_refusal_of_an_organization_that_nobody_named_is_a_warning_and_its_datasets_do_not_count_as_having_left(
    pipeline, studio
):
    one, two, three = studio.library.datasets
    assert sync_all(pipeline, studio).exit_code == 0
    studio.before.refused = {SECOND: 403}
    studio.before.datasets[FIRST].remove(two)
    studio.library.add_caption(media_of(studio.library, one, frames=1)[0]["id"], "Late.")
    report = sync_all(pipeline, studio)
    assert (report.exit_code, list(report.datasets)) == (0, [one])
    (warning,) = report.warnings
    assert warning == (
        f"The organization Name of b ({SECOND}) could not be asked for its datasets, which stay as they are: "
        "Not for you"
    )
    assert warning in report.to_json()
    assert_equal_to(pipeline, studio)
    assert stored(pipeline) == BOTH
    status = read_status(pipeline, base_url=studio.url, api_key=studio.key)
    found = {d.dataset_id: d for d in status.datasets}
    assert {d: found[d].in_account for d in (one, two, three)} == {one: True, two: False, three: None}
    assert found[three].next_run == "nothing: its organization was not asked, or refused"
    assert status.account == warning
    assert [two in text for text in status.warnings] == [True]


@pytest.mark.parametrize(
    ("refused", "named", "code"),
    [
        ({SECOND: 403}, [SECOND], 3),
        ({SECOND: 403}, [FIRST, SECOND], 3),
        ({SECOND: 403}, [FIRST], 0),
        ({FIRST: 403, SECOND: 403}, None, 3),
        ({SECOND: 401}, None, 3),
        ({SECOND: 402}, None, 3),
        ({SECOND: 503}, None, 5),
        ({SECOND: 404}, None, 2),
    ],
)
def test_every_other_refusal_is_what_it_is_elsewhere(pipeline, studio, refused, named, code):
    studio.before.refused = refused
    report = sync_all(pipeline, studio, organization_ids=named, dry_run=True)
    assert report.exit_code == code, report.to_json()
    if code:
        assert report.datasets == {}


def test_a_dataset_counts_as_having_left_only_if_its_organization_was_asked():
    first, second = Organization(bare(FIRST)), Organization(SECOND)
    whole = Account((first, second), ({"id": bare(THIRD)},), {second.id: "No."}, frozenset((FIRST, SECOND)))
    default = Account((first,), (), {}, frozenset((FIRST,)))
    assert [whole.lists("gone", o) for o in (FIRST, SECOND, THIRD, None)] == [False, None, None, None]
    assert [default.lists("gone", o) for o in (FIRST, SECOND, None)] == [False, None, None]
    assert [whole.sees(o) for o in (FIRST, SECOND, THIRD)] == [True, True, False]
    assert whole.lists(THIRD, SECOND) is True


def test_the_datasets_of_another_account_are_named_as_theirs_and_nobody_is_advised_to_erase_them(pipeline, studio):
    one, two, three = studio.library.datasets
    theirs = {THIRD: [three]}
    studio.before.datasets = {FIRST: [one, two]}
    assert sync_all(pipeline, studio).exit_code == 0
    studio.before.datasets = theirs
    studio.before.names[THIRD], studio.before.slugs[THIRD] = "Name of c", "slug-c"
    assert sync_all(pipeline, studio).warnings == []
    # the first account again: one of its own datasets has left, and the last run of the other's failed
    studio.before.datasets = {FIRST: [one]}
    with pipeline.sql_client() as client:
        client.execute_sql("UPDATE _coreviz_runs SET outcome = 'failed' WHERE dataset_id = %s", three)
    given = {"base_url": studio.url, "api_key": studio.key}
    status = read_status(pipeline, **given)
    found = {d.dataset_id: d for d in status.datasets}
    assert [found[d].other_account for d in (one, two, three)] == [False, False, True]
    assert found[three].next_run == "nothing: organization Name of c, loaded by another account"
    assert [two in text for text in status.warnings] == [True]
    pipeline.deactivate()
    options = ["--base-url", studio.url, "--api-key", studio.key, "--pipeline-name", "coreviz_test"]
    library = str(pipeline.destination_client().config.credentials.database)
    shown = CliRunner().invoke(main, ["status", *options], env={"DESTINATION__DUCKDB__CREDENTIALS": library})
    assert shown.exit_code == 0, shown.output
    assert "organization Name of c, loaded by another account" in shown.stdout
    assert f"--dataset-ids {three}" not in shown.output and f"--dataset-ids {two}" in shown.output
    # it counts as stale neither by its age nor because its last run failed
    stale = [d.dataset_id for d in read_status(pipeline, max_age=timedelta(0), **given).datasets if d.stale]
    assert stale == sorted((one, two))


def test_an_organization_is_forgotten_with_its_last_dataset(pipeline, studio):
    one, two, three = studio.library.datasets
    assert sync_all(pipeline, studio).exit_code == 0
    assert "organizations" not in forget(pipeline, Subject([bare(one)])).rows
    assert stored(pipeline) == BOTH
    found = find_rows(pipeline, Subject([two]))
    assert found.rows["organizations"] == 1
    assert forget(pipeline, Subject([two])) == found
    assert stored(pipeline) == BOTH[1:]
    assert find_rows(pipeline, Subject([one, two, three])).rows["organizations"] == 1
    assert_mirror(pipeline, {three: studio.snapshot(three)})


def test_check_shows_the_datasets_per_organization(studio):
    one, two, three = studio.library.datasets
    arguments = ["check", "--base-url", studio.url, "--api-key", studio.key]
    done = CliRunner().invoke(main, arguments)
    counts = {d: len(studio.snapshot(d)) for d in (one, two, three)}
    shown = {d: f"  {d} (Dataset {d[:3]}): {counts[d]} media and folders\n" for d in counts}
    head = f"{studio.url} accepts the key; the account has 2 organizations and 3 datasets.\n"
    first, second = f"Name of a ({FIRST}): 2 datasets\n", f"Name of b ({SECOND}): 1 dataset\n"
    assert (done.exit_code, done.stdout) == (0, head + first + shown[one] + shown[two] + second + shown[three])
    studio.before.refused = {SECOND: 403}
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0
    assert done.stdout == head.replace("3 d", "2 d") + first + shown[one] + shown[two]
    assert f"The organization Name of b ({SECOND}) could not be asked" in done.stderr


def test_sync_shows_the_organizations_with_their_datasets(studio):
    done = CliRunner().invoke(main, ["sync", "--base-url", studio.url, "--api-key", studio.key])
    assert done.exit_code == 0, done.output
    # without time and level
    lines = [line.split(" ", 3)[3] for line in done.output.splitlines()]
    one, two, three = (lines.index(f"{d} (Dataset {d[:3]}): begins") for d in studio.library.datasets)
    assert lines.count("Organization Name of a") == lines.count("Organization Name of b") == 1
    assert lines.index("Organization Name of a") < one < two < lines.index("Organization Name of b") < three


def test_the_table_on_a_terminal_names_each_organization_once():
    from rich.console import Console

    from coreviz_source.cli.progress import Screen
    from coreviz_source.report import Progress

    console = Console(record=True, width=120, file=io.StringIO())
    with Screen(console) as screen:
        for number, organization in enumerate((FIRST, FIRST, "Name of b")):
            screen(Progress(f"d{number}", f"Dataset {number}", organization))
    shown = console.export_text()
    places = [shown.rindex(name) for name in (FIRST[:20], "Dataset 0", "Dataset 1", "Name of b", "Dataset 2")]
    assert places == sorted(places)


def test_runs_know_nothing_of_organizations(pipeline, studio):
    sync_all(pipeline, studio)
    assert {r["outcome"] for r in runs(pipeline)} == {"complete"}
