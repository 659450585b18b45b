"""What the site takes from outside of docs/: README.md as its first page, and others that pages link to.

A hook of mkdocs. The pages are written for the repository, where their links work too; here links are turned to where
the site has the same file. Mermaid's program would have to be loaded from somewhere, so the diagram of the tables is
shown as the picture that it makes.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/*.md", "pipelines/*.py", ".dlt/config.toml")
LANGUAGES = {".py": "python", ".toml": "toml"}
LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?!\w+:|#)(?P<path>[^)\s#]+)(?P<anchor>#[^)]*)?\)")
MERMAID = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def in_the_site(path: str) -> str:
    """Where the site has a file of the repository."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    # mkdocs leaves out folders that begin with a dot
    path = path.removeprefix(".dlt/")
    return path if path.endswith(".md") else f"{path}.md"


def outside() -> dict[str, Path]:
    """The files that are not in docs/, by their names in the site."""
    return {in_the_site(path.relative_to(ROOT).as_posix()): path for one in OUTSIDE for path in ROOT.glob(one)}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the files from outside of docs/."""
    for name, path in outside().items():
        text = path.read_text(encoding="utf-8")
        if path.suffix in LANGUAGES:
            text = f"# {path.name}\n\n```{LANGUAGES[path.suffix]}\n{text}```\n"
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links, and shows the diagram as a picture."""
    here = page.file.src_uri
    source = outside().get(here, ROOT / "docs" / here)
    folder = source.parent.relative_to(ROOT).as_posix()

    def turned(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, link["path"]))
        target = in_the_site(path)
        if files.get_file_from_path(target) is None and (ROOT / path).exists():
            # the repository has it, the site does not
            return link["text"]
        return f"[{link['text']}]({posixpath.relpath(target, posixpath.dirname(here) or '.')}{link['anchor'] or ''})"

    return MERMAID.sub("![The tables](images/tables.svg)", LINK.sub(turned, markdown))
