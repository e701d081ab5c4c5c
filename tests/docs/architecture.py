"""The picture and the table of docs/architecture.md, drawn from the package's folders and imports.

python tests/docs/architecture.py            # draw them
python tests/docs/architecture.py --check    # say whether the page has them as they are
"""

import argparse
import ast
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

PROJECT = Path(__file__).parents[2]
PACKAGE = PROJECT / "shared" / "dicom_series_preview"
PAGE = PROJECT / "docs" / "architecture.md"
PICTURE = PROJECT / "docs" / "architecture.svg"
FLOORS = ("doors", "web", "products", "pixels", "archive", "sources", "base")
BEGIN, END = "<!-- rooms: written by `make tables` -->", "<!-- end of rooms -->"
WIDTH, BAND, BOX = 1040, 104, 52
LEFT, GAP = 116, 16
FONTS = "DejaVu Sans, Verdana, sans-serif"


@dataclass(frozen=True)
class Room:
    """A folder of modules, or the modules that lie right on a floor.

    Attributes:
        name: `floor/folder`, or the floor.
        says: What comes in and what goes out, by its docstring.
        modules: How many modules it has.
        lines: Their lines.
    """

    name: str
    says: str
    modules: int
    lines: int

    @property
    def floor(self) -> str:
        """The floor that it lies on."""
        return self.name.partition("/")[0]


def room_of(module: str) -> str:
    """The room of a module below the package, such as `pixels/codecs` of `pixels.codecs.jpeg`."""
    floor, *rest = module.split(".")
    if rest and (PACKAGE / floor / rest[0]).is_dir():
        return f"{floor}/{rest[0]}"
    return floor


def rooms() -> list[Room]:
    """All rooms, floor by floor from the doors down."""
    found = []
    for floor in FLOORS:
        folders = [PACKAGE / floor, *sorted(path.parent for path in (PACKAGE / floor).glob("*/__init__.py"))]
        for folder in folders:
            files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
            if files:
                says = (
                    ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
                )
                lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)
                name = folder.relative_to(PACKAGE).as_posix()
                found.append(Room(name, " ".join(says.split("\n\n")[0].split()), len(files), lines))
    return found


def arrows() -> Counter[tuple[str, str]]:
    """How many imports there are from one room to another, those of types among them."""
    found: Counter[tuple[str, str]] = Counter()
    for path in PACKAGE.rglob("*.py"):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if module.split(".")[0] not in FLOORS:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dicom_series_preview."):
                target = (node.module or "").removeprefix("dicom_series_preview.")
                if target.split(".")[0] in FLOORS and room_of(target) != room_of(module):
                    found[room_of(module), room_of(target)] += 1
    return found


def picture(all_rooms: list[Room], imports: Counter[tuple[str, str]]) -> str:
    """The floors with their rooms, and a line for each pair of rooms of which one imports the other."""
    places: dict[str, tuple[float, float, float]] = {}
    for number, floor in enumerate(FLOORS):
        here = [room for room in all_rooms if room.floor == floor]
        width = (WIDTH - LEFT - GAP * (len(here) + 1)) / len(here)
        for column, room in enumerate(here):
            places[room.name] = (LEFT + GAP + column * (width + GAP), number * BAND + (BAND - BOX) / 2, width)
    height = BAND * len(FLOORS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="{FONTS}">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    for number, floor in enumerate(FLOORS):
        shade = "#eef3f8" if number % 2 else "#f8fafc"
        parts.append(f'<rect y="{number * BAND}" width="{WIDTH}" height="{BAND}" fill="{shade}"/>')
        middle = number * BAND + BAND / 2 + 6
        parts.append(f'<text x="16" y="{middle}" font-weight="bold" font-size="18">{floor}/</text>')
    for (source, target), count in sorted(imports.items()):
        (x1, y1, w1), (x2, y2, w2) = places[source], places[target]
        if y1 == y2:
            continue
        top, bottom = y1 + BOX, y2
        middle = (top + bottom) / 2
        x1, x2 = x1 + w1 / 2, x2 + w2 / 2
        line = f"M{x1:.0f} {top:.0f} C{x1:.0f} {middle:.0f} {x2:.0f} {middle:.0f} {x2:.0f} {bottom:.0f}"
        look = (
            f'fill="none" stroke="#6b8cae" stroke-opacity="0.45" stroke-width="{min(6, 0.6 + count / 6):.1f}"'
        )
        parts.append(f'<path d="{line}" {look}/>')
    for room in all_rooms:
        x, y, width = places[room.name]
        name = room.name.partition("/")[2] or _modules_of(room)
        box = f'x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX}"'
        parts.append(f'<rect {box} rx="6" fill="#ffffff" stroke="#33475b"/>')
        middle = f'x="{x + width / 2:.0f}" text-anchor="middle"'
        parts.append(f'<text {middle} y="{y + 22:.0f}" font-size="15">{escape(name)}</text>')
        parts.append(
            f'<text {middle} y="{y + 42:.0f}" font-size="12" fill="#556677">{room.modules} modules</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _modules_of(room: Room) -> str:
    """The modules that lie right on a floor, as far as they fit into a box."""
    names = sorted(path.stem for path in (PACKAGE / room.name).glob("*.py") if path.name != "__init__.py")
    return ", ".join(names) if room.modules < 4 else f"{', '.join(names[:4])} ..."


def table(all_rooms: list[Room]) -> str:
    """What each room is for."""
    rows = [f"| `{room.name}/` | {room.modules} | {room.says} |" for room in all_rooms]
    return "\n".join(["| Room | Modules | |", "|---|---|---|", *rows])


def main() -> int:
    """Draw, or check."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    found = rooms()
    drawn, page = picture(found, arrows()), PAGE.read_text(encoding="utf-8")
    fresh = re.sub(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}",
        lambda _: f"{BEGIN}\n{table(found)}\n{END}",
        page,
        flags=re.DOTALL,
    )
    if check:
        old = PICTURE.read_text(encoding="utf-8") if PICTURE.exists() else ""
        if (old, page) != (drawn, fresh):
            sys.stderr.write("docs/architecture: not the package as it is; run `make tables`\n")
            return 1
        return 0
    PICTURE.write_text(drawn, encoding="utf-8")
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
