"""Pages of the documentation site that are made of something else; a hook of mkdocs.yml.

README.md becomes the home page, every command's `--help` one page, every example one, and all of
docs/notes goes under "Notes". `make docs` builds the site and fails at a broken link.
"""

import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PROJECT = {
    "CONTRIBUTING.md": "Contributing",
    "CHANGELOG.md": "Changes",
    "SECURITY.md": "Security",
    "NOTICE": "Notice",
    "LICENSE": "Licence",
}
"""Files of the repository's root that become pages, with their titles."""

HELP_WIDTH = 72
"""Columns of the commands' help, which is drawn in boxes."""


def on_config(config: Any) -> Any:
    """Add the pages that are found, not listed: examples, notes, and files of the root."""
    notes = sorted((ROOT / "docs" / "notes").glob("*.md"))
    config.nav += [
        {"Examples": ["examples/index.md", *(f"examples/{path.stem}.md" for path in examples())]},
        {"Notes": [f"notes/{path.name}" for path in notes]},
        {"Project": [{title: page_of(name)} for name, title in PROJECT.items()]},
    ]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are generated, and leave out what is no page."""
    pages = {"index.md": with_links_of_pages((ROOT / "README.md").read_text("utf-8"), up="")}
    pages["commands.md"] = commands_page()
    for path in examples():
        pages[f"examples/{path.stem}.md"] = f"# {title_of(path)}\n\n{shown(path)}"
    pages["examples/index.md"] = examples_page()
    for name, title in PROJECT.items():
        text = (ROOT / name).read_text("utf-8")
        is_page = name.endswith(".md")
        pages[page_of(name)] = (
            with_links_of_pages(text, up="../")
            if is_page
            else f"# {title}\n\n{fenced(text, 'text')}"
        )
    for uri, content in pages.items():
        files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Bring links of pages in docs/ that leave it to the pages made of what they name."""
    up = "../" * page.file.src_uri.count("/")
    for name in PROJECT:
        markdown = markdown.replace(f"]({up}../{name})", f"]({up}{page_of(name)})")
    example = rf"\]\({re.escape(up)}\.\./examples/(\w+)\.(?:py|ipynb)\)"
    return re.sub(example, rf"]({up}examples/\1.md)", markdown)


def on_post_build(config: Any) -> None:
    """Fail if a public name is missing in the reference."""
    pages = (Path(config.site_dir) / "reference").glob("*.html")
    shown = "\n".join(page.read_text("utf-8") for page in pages)
    surface = json.loads((ROOT / "tests" / "api_surface.json").read_text("utf-8"))
    methods = [name for name, kind in surface["Reconstruction"].items() if kind != "value"]
    for name in [*methods, *surface["dynapoint"]]:
        if not name.startswith("_") and f'.{name}"' not in shown:
            raise RuntimeError(f"{name} is public, but docs/reference does not show it")


def examples() -> list[Path]:
    """The notebook, then the scripts in order."""
    folder = ROOT / "examples"
    return [*sorted(folder.glob("*.ipynb")), *sorted(folder.glob("*.py"))]


def title_of(example: Path) -> str:
    """Its name in words: `01_first_scene.py` is "First scene"."""
    return example.stem.lstrip("0123456789_").replace("_", " ").capitalize()


def shown(example: Path) -> str:
    """A script as one block, a notebook cell by cell."""
    text = example.read_text("utf-8")
    if example.suffix == ".py":
        return fenced(text, "python")
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(text)["cells"]]
    return "\n\n".join(
        text if kind == "markdown" else fenced(text, "python") for kind, text in cells
    )


def first_line(example: Path) -> str:
    """What an example is about."""
    if example.suffix == ".py":
        return example.read_text("utf-8").splitlines()[0].removeprefix('"""')
    return "ten lines for a notebook: open, look, track, save, export, show."


def page_of(name: str) -> str:
    """The page of a file of the root."""
    return "project/" + name.removesuffix(".md").lower() + ".md"


def with_links_of_pages(text: str, *, up: str) -> str:
    """A document of the root with its links brought to where the site has their targets.

    `up` leads from its page to the root of the site.
    """
    text = re.sub(r"\]\(docs/", f"]({up}", text)
    text = re.sub(r"\]\(examples/(\w+)\.(?:py|ipynb)\)", rf"]({up}examples/\1.md)", text)
    text = text.replace("](examples/)", f"]({up}examples/index.md)")
    for name in PROJECT:
        text = text.replace(f"]({name})", f"]({up}{page_of(name)})")
    return text


def fenced(text: str, language: str) -> str:
    """A text as a block of code."""
    return f"````{language}\n{text.rstrip()}\n````\n"


def examples_page() -> str:
    """A list of the examples, each with its first line."""
    lines = [f"- [{title_of(path)}]({path.stem}.md): {first_line(path)}" for path in examples()]
    return "# Examples\n\n" + "\n".join(lines) + "\n"


def commands_page() -> str:
    """What every command's `--help` prints, as it is now."""
    from dynapoint import cli  # noqa: PLC0415 - the site alone needs it.

    os.environ |= {"COLUMNS": str(HELP_WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    parts = ["# Command line\n\nWhat `dynapoint --help` and each command's `--help` print.\n"]
    for name in ("", *cli.COMMANDS):
        printed = io.StringIO()
        arguments = [name, "--help"] if name else ["--help"]
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            cli.main(arguments)
        if not printed.getvalue().strip():
            raise RuntimeError(f"`dynapoint {name} --help` prints nothing")
        title = f"dynapoint {name}".strip()
        parts.append(f"## {title}\n\n{fenced(printed.getvalue(), 'text')}")
    return "\n".join(parts)
