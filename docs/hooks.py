"""MkDocs hooks: two files of the top folder become pages of the site."""

import pathlib

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

TOP_LEVEL = {"RESULTS.md": "results.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages; what they link to below docs/ lies beside them in the site."""
    top = pathlib.Path(config.config_file_path).parent
    for name, page in TOP_LEVEL.items():
        content = (top / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, **_) -> str:
    """Turns links to those files into links to their pages."""
    for name, page in TOP_LEVEL.items():
        markdown = markdown.replace(f"](../{name}", f"]({page}")
    return markdown
