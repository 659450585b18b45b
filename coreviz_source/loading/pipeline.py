"""The pipeline of the command line: where its tables are, and where dlt keeps on disk what belongs to them.

dlt remembers for each name of a pipeline in which folder it first ran, and looks for its DuckDB file there from then
on, wherever it runs. The command line uses the file of the folder in which it runs, unless a setting names another
one. Each DuckDB file has a working directory of its own, found by the file's path below dlt's data directory.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dlt
from dlt.common.configuration import resolve_configuration
from dlt.common.configuration.container import Container
from dlt.common.configuration.resolve import inject_section
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.destination import Destination
from dlt.common.pipeline import get_dlt_pipelines_dir
from dlt.common.runtime.collector import NULL_COLLECTOR
from dlt.pipeline.configuration import PipelineConfiguration

from coreviz_source.errors import ConfigurationError, CorevizError
from coreviz_source.loading.configuration import SECTION, configuration_error, sectioned_variables, warehouse_settings
from coreviz_source.values import text_hash
from coreviz_source.warehouse.destination import DESTINATIONS
from coreviz_source.warehouse.lock_file import LockFile
from coreviz_source.warehouse.locks import Locks, unwritable

#: Folder in dlt's data directory that has the working directories of DuckDB files.
FOLDER = "coreviz"
#: Where dlt keeps packages that wait to be normalized or loaded.
_PACKAGES = ("normalize/extracted/*", "load/normalized/*")


@dataclass(frozen=True)
class PipelineFactory:
    """Makes the pipeline: where its tables are, and its working directory. Nothing of it has to exist.

    Args:
        values: `destination`, `dataset_name` and `pipeline_name`.
        destination: The destination, as dlt takes it.
        pipelines_dir: The folder of the working directory.
        earlier: The working directory in which an earlier release left packages for the same DuckDB file.
        folder: The folder of the DuckDB file, if it is made with the first load: that of dlt's `:pipeline:`.
        notice: What people should know before the command does anything.
        file: The DuckDB file; None if the destination is no file.
    """

    values: Mapping[str, str]
    destination: Any
    pipelines_dir: Path
    earlier: Path | None = None
    folder: Path | None = None
    notice: str = ""
    file: Path | None = None

    @property
    def working_dir(self) -> Path:
        """The working directory."""
        return self.pipelines_dir / self.values["pipeline_name"]

    def for_loading(self) -> dlt.Pipeline:
        """A pipeline that loads. Its working directory is made.

        Raises:
            ConfigurationError: The working directory cannot be written, or the warehouse cannot be used.
        """
        try:
            self._take_over()
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
            try:
                return self._pipeline_in(self.pipelines_dir)
            except (FileExistsError, FileNotFoundError):
                # another command makes it, or removes it, at the same moment
                return self._pipeline_in(self.pipelines_dir)
        except OSError as error:
            raise unwritable(self.working_dir, error) from error

    def for_reading(self, folder: str) -> dlt.Pipeline:
        """A pipeline that only reads.

        Its `working_dir` is nevertheless the one in which runs leave packages, so that these can be counted.

        Args:
            folder: A temporary folder, for what dlt writes whenever a pipeline is made.

        Raises:
            ConfigurationError: The warehouse cannot be used.
        """
        pipeline = self._pipeline_in(Path(folder))
        used = self.earlier if self.earlier and not self.working_dir.exists() else self.working_dir
        pipeline.working_dir, pipeline.pipelines_dir = str(used), str(used.parent)
        return pipeline

    def _pipeline_in(self, folder: Path) -> dlt.Pipeline:
        given = {**self.values, "destination": self.destination, "pipelines_dir": str(folder)}
        try:
            # dlt's own display would go to the stdout of --json
            pipeline: dlt.Pipeline = dlt.pipeline(**given, progress=NULL_COLLECTOR)
        except OSError:
            raise
        except Exception as error:
            raise configuration_error(error) or ConfigurationError(
                f"The warehouse under `sources.{SECTION}` cannot be used: {error}"
            ) from None
        return pipeline

    def _take_over(self) -> None:
        """Takes over the packages that an earlier release left, so that they are loaded, and loaded once."""
        if self.earlier is None or self.working_dir.exists():
            return
        with ExitStack() as stack:
            if LockFile(self.earlier).attempt(stack) is not None or self.working_dir.exists():
                # a run of that release is still under way, or another command has taken them over
                return
            copied = self.pipelines_dir / f"{self.values['pipeline_name']}.new"
            shutil.rmtree(copied, ignore_errors=True)
            shutil.copytree(self.earlier, copied)
            copied.rename(self.working_dir)
            for path in packages_in(self.earlier):
                shutil.rmtree(path)


def resolve_factory(*, driver: bool, **given: str | None) -> PipelineFactory:
    """What makes the pipeline of the command line, from what was given, then dlt's configuration, then the defaults.

    Args:
        driver: Whether the driver of the destination is needed.
        **given: `destination`, `dataset_name` and `pipeline_name`; None means not given.

    Raises:
        ConfigurationError: There is no such destination, or the pipeline is configured in a way that this source
            cannot honour.
    """
    with sectioned_variables():
        values = warehouse_settings(driver=driver, **given)
        name = values["pipeline_name"]
        with inject_section(ConfigSectionContext(pipeline_name=name)):
            configured = _configuration_of(name)
            usual = Path(configured.pipelines_dir or get_dlt_pipelines_dir()).absolute()
            kind = DESTINATIONS[values["destination"]]
            if not kind.is_file:
                return PipelineFactory(values, values["destination"], usual)
            own = usual / name
            destination = _destination(values, _local_dir(), own)
            file = _file_of(destination, values)
            if file is None:
                return PipelineFactory(values, destination, usual)
            root = usual if configured.pipelines_dir else usual.with_name(FOLDER)
            remembered = _remembered_file(own, values)
            return PipelineFactory(
                values,
                destination,
                root / f"{text_hash(str(file)):016x}",
                earlier=own if remembered == file and packages_in(own) else None,
                folder=own if file.parent == own.resolve() else None,
                notice=_notice(file, remembered, values["destination"]),
                file=file,
            )


def resolve_pipeline(*, reading: bool = False, **given: str | None) -> dlt.Pipeline:
    """The pipeline that the command line uses.

    Args:
        reading: Whether nothing is loaded: then no working directory is made.
        **given: `destination`, `dataset_name` and `pipeline_name`; None means not given.

    Raises:
        ConfigurationError: There is no such destination, or the pipeline is configured in a way that this source
            cannot honour.
    """
    factory = resolve_factory(driver=True, **given)
    with sectioned_variables():
        if not reading:
            return factory.for_loading()
        folder = _temporary_folder()
        pipeline = factory.for_reading(folder)
        weakref.finalize(pipeline, shutil.rmtree, folder, ignore_errors=True)
        return pipeline


@contextmanager
def command_line_pipeline(say: Callable[[str], None], *, reading: bool, **given: str | None) -> Iterator[dlt.Pipeline]:
    """The pipeline of one command. A working directory into which the command loaded nothing is removed at its end.

    Args:
        say: Receives a notice for people, if there is one.
        reading: Whether the command loads nothing.
        **given: `destination`, `dataset_name` and `pipeline_name`; None means not given.

    Raises:
        ConfigurationError: As `resolve_pipeline`.
    """
    with sectioned_variables():
        factory = resolve_factory(driver=True, **given)
        if factory.notice:
            say(factory.notice)
        if reading:
            folder = _temporary_folder()
            try:
                yield factory.for_reading(folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return
        made = [folder for folder in factory.working_dir.parents if not folder.exists()]
        pipeline = factory.for_loading()
        try:
            yield pipeline
        finally:
            _discard_unused(pipeline, made)


def _temporary_folder() -> str:
    try:
        return tempfile.mkdtemp(prefix="coreviz-")
    except OSError as error:
        raise ConfigurationError(
            f"No temporary folder can be made: {error}", remedy="Name one in the variable TMPDIR."
        ) from error


def _discard_unused(pipeline: dlt.Pipeline, made: list[Path]) -> None:
    """Removes a working directory without packages and schemas, and those of the folders above it that are empty."""
    directory = Path(pipeline.working_dir)
    if _is_used(directory):
        return
    with Locks(pipeline) as locks:
        try:
            locks.take_working_directory(patience=0)
        except CorevizError:
            return
        # another run may have loaded meanwhile
        if _is_used(directory):
            return
        shutil.rmtree(directory, ignore_errors=True)
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


def _is_used(directory: Path) -> bool:
    return any((directory / "schemas").glob("*.json")) or bool(packages_in(directory))


def packages_in(directory: Path) -> list[Path]:
    """The packages in a working directory that wait to be normalized or loaded."""
    return [path for pattern in _PACKAGES for path in directory.glob(pattern) if path.is_dir()]


def _local_dir() -> str:
    """The folder of files without a whole path: the one in which the command runs, if dlt is not set to another one."""
    return os.path.abspath(Container()[PluggableRunContext].context.local_dir)


def _destination(values: Mapping[str, str], local_dir: str, working_dir: Path) -> Any:
    """DuckDB with its file in a folder, instead of the folder that dlt remembers for the pipeline."""
    return DESTINATIONS[values["destination"]].adapt(
        Destination.from_reference(
            values["destination"],
            local_dir=local_dir,
            pipeline_name=values["pipeline_name"],
            pipeline_working_dir=str(working_dir),
        )
    )


def _file_of(destination: Any, values: Mapping[str, str]) -> Path | None:
    """The file of a destination, with symbolic links followed; None if its warehouse is no file."""
    kind = DESTINATIONS[values["destination"]]
    config = destination.spec()
    config.dataset_name = values["dataset_name"]
    try:
        config = destination.configuration(config)
    except Exception as error:
        raise configuration_error(error) or ConfigurationError(
            f"`destination.{values['destination']}.credentials` cannot be used: {error}",
            remedy=f"{kind.how_to_name}. Nothing was requested yet.",
        ) from None
    file = kind.file(config.credentials)
    return None if file is None else Path(os.path.realpath(file))


def _remembered_file(directory: Path, values: Mapping[str, str]) -> Path | None:
    """The DuckDB file to which a working directory of an earlier release belongs; None if that is not known."""
    try:
        local_dir = json.loads((directory / "state.json").read_text())["_local"]["initial_cwd"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return _file_of(_destination(values, local_dir, directory), values)


def _notice(file: Path, remembered: Path | None, destination: str) -> str:
    """A sentence for those who had their tables where dlt remembers them, and now run the command elsewhere."""
    # `os.path` takes what may not be looked at as missing
    if remembered is None or remembered == file or os.path.exists(file) or not os.path.exists(remembered):
        return ""
    return (
        f"There is no {file} yet. An earlier release, or a pipeline in Python, loaded into {remembered}. To continue "
        f"with that file, run the command in its folder, or name it in `destination.{destination}.credentials`."
    )


def _configuration_of(name: str) -> PipelineConfiguration:
    """Dlt's configuration of a pipeline.

    Raises:
        ConfigurationError: `dev_mode` or `refresh` is configured, which would empty the tables behind the comparison.
    """
    try:
        found = resolve_configuration(
            PipelineConfiguration(), sections=("pipelines", name), explicit_value={"pipeline_name": name}
        )
    except Exception as error:
        raise configuration_error(error) or ConfigurationError(
            f"The configuration of the pipeline {name} cannot be read: {error}"
        ) from None
    if found.dev_mode or found.full_refresh:
        raise ConfigurationError(
            f"`dev_mode` is configured for the pipeline {name}: every run would load into a new schema.",
            remedy="Remove it from dlt's configuration, and name a schema to try things in by `dataset_name`.",
        )
    if found.refresh:
        raise ConfigurationError(
            f"`refresh` is configured for the pipeline {name}: dlt would empty the tables that a run compares with.",
            remedy="Remove it from dlt's configuration. To load everything again, use `resync`.",
        )
    return found
