"""The tables of docs/index.md and docs/catalogue.md, made from the schemas.

python tests/docs/index_page.py            # write them
python tests/docs/index_page.py --check    # say whether the page has them as they are
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from dicom_series_preview.archive.catalogue import columns as catalogue
from dicom_series_preview.archive.index import schema
from dicom_series_preview.archive.index.declared import NUMBER_TYPES
from dicom_series_preview.sources.headers.dictionary import dictionary_vm, dictionary_vr

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "index.md"
NAMES = {
    pa.uint32(): "UInt32",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.uint64(): "UInt64",
    pa.float32(): "Float32",
    pa.float64(): "Float64",
    pa.utf8(): "Utf8",
    pa.bool_(): "Boolean",
    pa.date32(): "Date32",
    pa.time64("us"): "Time64",
    pa.timestamp("us", "UTC"): "Timestamp, UTC",
}


def type_name(kind: pa.DataType) -> str:
    """An Arrow type as the page calls it."""
    return f"list of {NAMES[kind.value_type]}" if pa.types.is_list(kind) else NAMES[kind]


def origin(column: schema.Column) -> str:
    """The element that a column holds, and where the standard says more."""
    part = column.section if column.section.startswith("PS") else f"PS3.3 {column.section}"
    section = part if column.section else ""
    if not column.tag:
        return section
    element = f"({column.tag >> 16:04X},{column.tag & 0xFFFF:04X})"
    return f"{element} {dictionary_vr(column.tag)}, VM {dictionary_vm(column.tag)}; {section}"


def of_catalogue() -> str:
    """The table of the catalogue's columns."""
    cells = [
        (f"`{c.name}`", type_name(c.type), c.unit, schema_element(c), c.description)
        for c in catalogue.COLUMNS
    ]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join(["| Column | Type | Unit | Element | What it holds |", "|---|---|---|---|---|", *rows])


def schema_element(column: schema.Column) -> str:
    """The element that a column holds, if any."""
    return f"({column.tag >> 16:04X},{column.tag & 0xFFFF:04X})" if column.tag else ""


def columns(which: Sequence[schema.Column]) -> str:
    """A table of columns."""
    cells = [(f"`{c.name}`", type_name(c.type), c.unit, origin(c), c.description) for c in which]
    rows = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join(["| Column | Type | Unit | From | What it holds |", "|---|---|---|---|---|", *rows])


def types() -> str:
    """The table of types by VR."""
    vrs: dict[pa.DataType, list[str]] = {}
    for vr, kind in NUMBER_TYPES.items():
        vrs.setdefault(kind, []).append(vr)
    rows = [f"| {', '.join(of_kind)} | {type_name(kind)} |" for kind, of_kind in vrs.items()]
    rows += [
        "| OB, OD, OF, OL, OV, OW, UN | `{Keyword}_Size` Int32 (bytes) and `{Keyword}_Hash` Utf8 (SHA-256) |",
        "| SQ | Utf8: the items as DICOM JSON |",
        "| all others | Utf8: the text as stored, without the spaces that fill it up |",
    ]
    return "\n".join(["| VR in the dictionary | Type |", "|---|---|", *rows])


INDEX = {
    "every index": columns(schema.FIXED_COLUMNS),
    "tiles": columns(schema.PART_COLUMNS),
    "mosaics": columns(schema.MOSAIC_COLUMNS),
    "rest": columns((schema.OTHER_ELEMENTS,)),
    "types": types(),
}


TABLES = {PAGE: INDEX, DOCS / "catalogue.md": {"catalogue": of_catalogue()}}


def filled(page: str, tables: Mapping[str, str] = INDEX, name_of_page: str = PAGE.name) -> str:
    """A page with its tables anew."""
    for name, table in tables.items():
        begin, end = f"<!-- table: {name} -->", "<!-- end -->"
        pattern = rf"{re.escape(begin)}\n.*?{end}"
        page, count = re.subn(pattern, f"{begin}\n{table}\n{end}", page, count=1, flags=re.DOTALL)
        if not count:
            sys.exit(f"{name_of_page} has no place for the table {name!r}: {begin} ... {end}")
    return page


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where it is out of step")
    check = parser.parse_args().check
    for path, tables in TABLES.items():
        page = path.read_text(encoding="utf-8")
        now = filled(page, tables, path.name)
        if not check:
            path.write_text(now, encoding="utf-8")
        elif now != page:
            sys.exit(f"docs/{path.name} is out of step with the schema; make tables writes its tables anew")


if __name__ == "__main__":
    main()
