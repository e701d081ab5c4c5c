"""Every series, file and broken object of a collection of test data on one page, to be looked at.

    python tests/conformance/gallery.py FOLDER OUTPUT

FOLDER holds `series/<name>/`, `single/<category>/` and `malformed/`; OUTPUT is a folder, in which
`index.html` is written. The page needs nothing but itself.
"""

import argparse
import base64
import html
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydicom.uid import UID

from dicom_series_preview.archive.index.index import Index
from dicom_series_preview.base.errors import PreviewError
from dicom_series_preview.base.files import write_atomically
from dicom_series_preview.base.settings import Limits
from dicom_series_preview.products.pictures.report import Report
from dicom_series_preview.products.pictures.requests import ImageRequest, IndexRequest, MosaicRequest
from dicom_series_preview.products.pictures.service import PreviewService, Rendered
from dicom_series_preview.sources.storage.memory import MemoryStorage

WIDTH, HEIGHT = 320, 400
MOSAIC_WIDTH = 480
TILES = {1: (1, 1), 2: (2, 1), 3: (3, 1), 4: (2, 2), 6: (3, 2), 9: (3, 3)}
QUALITY = "90"
OTHER_STACKS = 3
UNIDENTIFIED = "unknown"


@dataclass(frozen=True, slots=True)
class Source:
    """What one entry of the page shows.

    Attributes:
        group: The heading that it stands under.
        name: Its path below the collection.
        objects: The files, by path below the collection.
    """

    group: str
    name: str
    objects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the page.

    Attributes:
        source: Where it is from.
        title: The name, and the stack where there are several.
        picture: A data URL, or empty where there is none.
        size: The picture's width and height in pixels.
        facts: What is told of it.
        warnings: What its viewer should know.
        failure: Why there is no picture, or empty.
    """

    source: Source
    title: str
    picture: str = field(default="", repr=False)
    size: tuple[int, int] = (0, 0)
    facts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    failure: str = ""


def sources(folder: Path) -> list[Source]:
    """Each folder of `series` as one, each file elsewhere by itself."""
    found = []
    for series in sorted((folder / "series").iterdir()):
        files = sorted(path for path in series.rglob("*") if path.is_file())
        found.append(Source("series", f"series/{series.name}", _below(folder, files)))
    singles = sorted(path for path in (folder / "single").rglob("*") if path.is_file())
    broken = sorted(path for path in (folder / "malformed").rglob("*") if path.is_file())
    for path in (*singles, *broken):
        name = path.relative_to(folder).as_posix()
        found.append(Source(name.rpartition("/")[0], name, (name,)))
    return found


def _below(folder: Path, files: Iterable[Path]) -> tuple[str, ...]:
    return tuple(path.relative_to(folder).as_posix() for path in files)


def entries(folder: Path, source: Source) -> list[Entry]:
    """Render a source: its main stack, and a few of the others."""
    objects = {f"S/{Path(name).name}": (folder / name).read_bytes() for name in source.objects}
    service = PreviewService(MemoryStorage(objects, immutable=True), None, Limits())
    try:
        index = service.index(IndexRequest.from_strings("S", {})).index
        shown = sorted(index.stacks)[: 1 + OTHER_STACKS] or [0]
    except PreviewError as error:
        return [Entry(source, source.name, failure=str(error))]
    return [_entry(service, index, source, stack) for stack in shown]


def _entry(service: PreviewService, index: Index, source: Source, stack: int) -> Entry:
    title = f"{source.name}, stack {stack}" if len(index.stacks) > 1 else source.name
    facts = _facts(index, stack)
    try:
        rendered = _render(service, index, stack)
    except PreviewError as error:
        return Entry(source, title, facts=facts, failure=str(error))
    report = rendered.report
    skipped = Counter(item.reason for item in report.skipped)
    return Entry(
        source,
        title,
        picture=f"data:{rendered.image_format.media_type};base64,{base64.b64encode(rendered.data).decode()}",
        size=(report.width, report.height),
        facts=(*facts, *_contrasts(report)),
        warnings=(
            *report.warnings,
            *report.notes,
            *(f"{count} skipped: {reason}" for reason, count in skipped.items()),
        ),
    )


def _render(service: PreviewService, index: Index, stack: int) -> Rendered:
    """One slice that fits WIDTH x HEIGHT, or a mosaic."""
    options = {"quality": [QUALITY], "stack": [str(stack)]}
    rows = index.stacks.get(stack, ())
    if len(rows) <= 1:
        width = min(WIDTH, max(1, round(HEIGHT / _height(index, rows)))) if len(rows) else WIDTH
        given = {**options, "position": ["0.5"], "image_width": [str(width)]}
        return service.render(ImageRequest.from_strings("S", "a.webp", given))
    across, down = next(TILES[most] for most in sorted(TILES, reverse=True) if len(rows) >= most)
    given = {
        **options,
        "tile_width": [str(across)],
        "tile_height": [str(down)],
        "image_width": [str(MOSAIC_WIDTH // across)],
    }
    return service.render(MosaicRequest.from_strings("S", "a.webp", given))


def _height(index: Index, rows: Sequence[int]) -> float:
    """A slice's height, where its width is 1."""
    first = index.slices([int(rows[0])])[0]
    pixel = first.pixel_shape
    return first.pixels.rows * pixel[0] / (first.pixels.columns * pixel[1])


def _facts(index: Index, stack: int) -> tuple[str, ...]:
    """Modality, transfer syntax, photometric interpretation, and the like."""
    rows = index.stacks.get(stack)
    if rows is None:
        return ()
    first = index.slices([int(rows[0])])[0]
    pixels = first.pixels
    sign = "signed" if pixels.pixel_representation else "unsigned"
    spacing = first.pixel_spacing_mm or first.pixel_aspect_ratio
    return (
        str(index.header(first.row).get("Modality", "")) or UNIDENTIFIED,
        UID(pixels.transfer_syntax_uid).name,
        pixels.photometric_interpretation,
        f"{pixels.rows} x {pixels.columns}, {pixels.bits_stored} of {pixels.bits_allocated} bits {sign}",
        *([f"pixel {spacing[0]:g} x {spacing[1]:g}"] if spacing else []),
        f"{len(rows)} slices along {first.primary_axis}" if len(rows) > 1 else "1 slice",
    )


def _contrasts(report: Report) -> list[str]:
    """Each contrast that was applied, once."""
    texts = []
    for tile in report.tiles:
        applied = tile.contrast
        if applied is None:
            continue
        window = "" if applied.width is None else f" W {applied.width:.6g} C {applied.center:.6g}"
        texts.append(
            "colour"
            if applied.kind == "none"
            else f"{applied.kind} {applied.function}{window} {applied.name}"
        )
    kinds = list(dict.fromkeys(text.strip() for text in texts))
    return [*kinds[:3], *([f"and {len(kinds) - 3} more windows"] if len(kinds) > 3 else [])]


STYLE = """
:root { color-scheme: dark }
body { margin: 0; background: #16181c; color: #d8dade; font: 13px/1.4 system-ui, sans-serif }
header { position: sticky; top: 0; padding: 8px 16px; background: #16181cee; border-bottom: 1px solid #333 }
input { width: 32em; padding: 4px 8px; background: #22252b; color: inherit; border: 1px solid #444 }
section { padding: 0 16px 16px }
h2 { margin: 16px 0 8px; font-size: 16px }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; align-items: flex-start }
figure { margin: 0; padding: 8px; background: #1f2227; max-width: 480px }
img { display: block; image-rendering: auto }
figcaption { margin-top: 6px; width: 0; min-width: max(100%, 240px); overflow-wrap: anywhere }
b { display: block }
.warning { color: #e8b45a }
.failure { color: #f08a7e }
"""

SCRIPT = """
const box = document.querySelector("input"), count = document.querySelector("output");
function filter() {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  let shown = 0;
  for (const section of document.querySelectorAll("section")) {
    let any = false;
    for (const figure of section.querySelectorAll("figure")) {
      const text = figure.textContent.toLowerCase();
      figure.hidden = !words.every(word => text.includes(word));
      any ||= !figure.hidden;
      shown += !figure.hidden;
    }
    section.hidden = !any;
  }
  count.textContent = shown + " shown";
}
box.addEventListener("input", filter);
box.value = decodeURIComponent(location.hash.slice(1));
filter();
"""


def page(shown: Iterable[Entry]) -> str:
    """The entries as one HTML document, grouped by folder."""
    groups: dict[str, list[Entry]] = {}
    for entry in shown:
        groups.setdefault(entry.source.group, []).append(entry)
    sections = "\n".join(
        f"<section><h2>{html.escape(group)}</h2>\n<div class=tiles>\n"
        + "\n".join(_figure(entry) for entry in members)
        + "\n</div></section>"
        for group, members in groups.items()
    )
    return (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>Gallery</title><style>{STYLE}</style>\n"
        "<header><input type=search placeholder='filter: names, modality, syntax, warnings ...' autofocus> "
        f"<output></output></header>\n{sections}\n<script>{SCRIPT}</script></html>\n"
    )


def _figure(entry: Entry) -> str:
    width, height = entry.size
    picture = f'<img src="{entry.picture}" width={width} height={height} alt="">' if entry.picture else ""
    lines = [f"<b>{html.escape(entry.title)}</b>", html.escape("; ".join(entry.facts))]
    lines += [f"<div class=warning>{html.escape(text)}</div>" for text in entry.warnings]
    if entry.failure:
        lines.append(f"<div class=failure>{html.escape(entry.failure)}</div>")
    return f"<figure>{picture}<figcaption>{''.join(lines)}</figcaption></figure>"


def main() -> int:
    """Write the page, and say where it is and what it holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    if not (arguments.folder / "series").is_dir():
        sys.stderr.write(f"{arguments.folder} holds no folder 'series': it is no collection of test data\n")
        return 1
    found = sources(arguments.folder)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        shown = [entry for some in pool.map(partial(entries, arguments.folder), found) for entry in some]
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = (arguments.output / "index.html").resolve()
    write_atomically(path, page(shown).encode())
    failures = sum(1 for entry in shown if entry.failure)
    sys.stdout.write(f"{path}: {len(shown) - failures} pictures, {failures} failures\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
