"""The tables of options in docs/, made from the table of options.

python tests/docs/option_tables.py            # write them
python tests/docs/option_tables.py --check    # say whether the pages have them as they are
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dicom_series_preview.products.pictures import options
from dicom_series_preview.web.http import volume_options

DOCS = Path(__file__).parents[2] / "docs"
OF_HTTP = {
    "mosaic": options.MOSAIC,
    "image": options.IMAGE,
    "contrast-mosaic": options.CONTRAST_MOSAIC,
    "index": options.INDEX,
}
OF_COMMANDS = {
    "mosaic": options.MOSAIC,
    "get-image": options.IMAGE,
    "contrast-mosaic": options.CONTRAST_MOSAIC,
}


def command_line(tables: Mapping[str, Sequence[options.Option]] = OF_COMMANDS) -> str:
    """The options of the commands that write pictures."""
    rows = []
    for option, where in _with_places(tables):
        if not option.deprecated:
            short = f"`{option.short}`, " if option.short else ""
            rows.append((f"{short}`{option.flag}`", where, option.page))
    return _table(("Option", "Of", "What it does; the default"), rows)


def http(tables: Mapping[str, Sequence[options.Option]] = OF_HTTP) -> str:
    """The parameters of the HTTP API."""
    rows = []
    for option, where in _with_places(tables):
        told = option.page or option.summary
        rows.append((f"`{option.name}`", where, f"`true` {told}; `false`" if option.type is bool else told))
    return _table(("Parameter", "Of", "Values; the default"), rows)


def volumes() -> str:
    """The options of volumes over HTTP."""
    planned = {option.name for option in volume_options.PLAN}
    rows = [
        (f"`{option.name}`", "plans, batches" if option.name in planned else "batches", option.page)
        for option in volume_options.CONVERT
    ]
    return _table(("Option", "Of", "Values; the default"), rows)


def _with_places(tables: Mapping[str, Sequence[options.Option]]) -> list[tuple[options.Option, str]]:
    """Each option once, those of every picture first, with the names of what takes it."""
    found: dict[tuple[str, str], tuple[options.Option, list[str]]] = {}
    for table in (options.PICTURE, *(options.own(table) for table in tables.values())):
        for option in table:
            found.setdefault((option.name, option.page), (option, []))
    for place, table in tables.items():
        for option in table:
            note = " (needed)" if option.required else ""
            found[option.name, option.page][1].append(f"`{place}`{note}")
    pictures = sum(1 for table in tables.values() if options.PICTURE[0] in table)
    return [
        (option, "pictures" if len(places) == pictures and not option.required else ", ".join(places))
        for option, places in found.values()
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PAGES = {
    ("command-line.md", "options"): command_line,
    ("http-api.md", "options"): http,
    ("http-api.md", "volumes"): volumes,
}


def written(page: str, table: str, mark: str = "options") -> str:
    """A page with a table between its two marks."""
    begin, end = f"<!-- {mark}: written by `make tables` -->", f"<!-- end of {mark} -->"
    assert begin in page
    assert end in page
    return re.sub(
        f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: f"{begin}\n{table}\n{end}", page, flags=re.DOTALL
    )


def main() -> int:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    status = 0
    for (name, mark), table in PAGES.items():
        path = DOCS / name
        page = path.read_text(encoding="utf-8")
        fresh = written(page, table(), mark)
        if check and fresh != page:
            sys.stderr.write(f"docs/{name}: its options are not those of the product; run `make tables`\n")
            status = 1
        if not check:
            path.write_text(fresh, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
