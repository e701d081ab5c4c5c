"""docs/conformance.md, made by running what it reports.

    python tests/conformance/page.py            # write it
    python tests/conformance/page.py --check    # say whether it is what a fresh run gives

The part about real files is made from the collection that DICOM_TEST_DATA names; without one that part stays
as it is.
"""

import argparse
import contextlib
import io
import os
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydicom.uid import UID

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "support"), str(ROOT)]

from conformance import peers, truth  # noqa: E402 - the path is set above
from conformance.rules import Rule  # noqa: E402

PAGE = ROOT / "docs" / "conformance.md"
REAL = "## Real files\n"
VECTORS = "tests/vectors"

ITEMS = {
    1: "Windows",
    2: "Lookup tables, slope and intercept",
    3: "Functional groups of multi-frame images",
    4: "Rescale that differs between instances",
    5: "Pixel padding",
    6: "Inversion",
    7: "Proportions",
    8: "Stored values and the bits around them",
    9: "Colour and the layouts of pixels",
    10: "Windows as they come in real files",
    11: "Volumes in one image",
    12: "Order of slices",
    13: "Gantry tilt",
    14: "Headers as they come in real files",
    15: "Frames and their offset tables",
    16: "Character sets and broken values",
    17: "Broken objects",
    18: "Overlays",
    19: "Whole slide images",
}

UNIT = "tests/unit"
# Where the standard leaves it open.
OURS = "our choice"
# Rules that the tests of one module prove: the rule, and by which tests.
ELSEWHERE = {
    Rule(
        8, "Sign and precision of a JPEG 2000 codestream may disagree with the header", "PS3.5 8.2.4, A.4.4"
    ): (
        f"{UNIT}/pixels/codecs/test_codecs.py::test_jpeg2000_sign_and_precision_may_disagree_with_the_header",
    ),
    Rule(
        9,
        "Palette: 16-bit entries, 8-bit ones packed or not, clamped ends, segments",
        "PS3.3 C.7.6.3.1.5, C.7.9.2",
    ): (
        f"{UNIT}/pixels/codecs/test_colour.py::test_palette_of_16_bit_entries_keeps_their_high_bits",
        f"{UNIT}/pixels/codecs/test_colour.py::test_palette_of_8_bit_entries_packed_or_not",
        f"{UNIT}/pixels/codecs/test_colour.py::test_palette_clamps_below_and_beyond_its_entries",
        f"{UNIT}/pixels/codecs/test_colour.py::test_segmented_palette_is_expanded",
    ),
    Rule(9, "A supplemental palette keeps grey", "PS3.3 C.7.6.19"): (
        f"{UNIT}/pixels/codecs/test_colour.py::test_colour_is_known_by_samples_and_palette",
    ),
    Rule(9, "Planar configuration 1; native 4:2:2 chroma", "PS3.3 C.7.6.3.1.2, C.7.6.3.1.3"): (
        f"{UNIT}/pixels/codecs/test_native.py::test_planar_configuration_is_resolved",
        f"{UNIT}/pixels/codecs/test_native.py::test_native_422_chroma_is_brought_to_full_size",
    ),
    Rule(9, "16-bit RGB is scaled by BitsStored", "PS3.3 C.7.6.3.1.2"): (
        f"{UNIT}/pixels/codecs/test_colour.py::test_wide_rgb_is_scaled_by_bits_stored",
    ),
    Rule(9, "A JPEG that says RGB and holds YCbCr is taken at its own word", "PS3.5 8.2.1"): (
        f"{UNIT}/pixels/codecs/test_codecs.py::test_jpeg_that_says_rgb_but_holds_ycbcr_is_shown_right",
    ),
    Rule(9, "YBR_RCT and YBR_ICT come as RGB from the decoder", "PS3.5 8.2.4"): (
        f"{UNIT}/pixels/codecs/test_codecs.py::test_jpeg2000_with_a_component_transform_is_rgb",
    ),
    Rule(
        9,
        "1 bit, 12 bits packed, 8 to 64 bits of either sign and byte order, float and double",
        "PS3.5 8.1.1, 8.4",
    ): (
        f"{UNIT}/pixels/codecs/test_native.py::test_one_bit_frames_may_begin_inside_a_byte",
        f"{UNIT}/pixels/codecs/test_native.py::test_twelve_bits_allocated_are_packed",
        f"{UNIT}/pixels/codecs/test_native.py::test_integers_of_every_size_sign_and_byte_order",
        f"{UNIT}/pixels/codecs/test_native.py::test_float_pixel_data",
    ),
    Rule(11, "Untiled, each slice of a mosaic lies where it was measured, also over time", "Siemens CSA"): (
        f"{UNIT}/archive/test_siemens.py::test_slices_have_the_size_and_place_of_a_tile",
        f"{UNIT}/archive/test_siemens.py::test_position_is_moved_from_the_grids_corner_to_the_tiles",
        f"{UNIT}/archive/test_siemens.py::test_the_csa_header_says_which_way_slices_go",
        f"{UNIT}/archive/test_siemens.py::test_mosaics_over_time_are_locations_times_times",
    ),
    Rule(
        12,
        "Position along the normal, then InstanceNumber, then time; SliceLocation only without positions",
        OURS,
    ): (
        f"{UNIT}/base/test_arrangement.py::test_display_order",
        f"{UNIT}/base/test_arrangement.py::test_ties_go_by_instance_number_then_time",
        f"{UNIT}/base/test_arrangement.py::test_slice_location_lies_where_there_are_positions",
        f"{UNIT}/base/test_arrangement.py::test_slices_without_position_go_last_with_a_note",
    ),
    Rule(12, "Localizers are a stack of their own", OURS): (
        f"{UNIT}/base/test_arrangement.py::test_localizers_are_never_the_main_stack",
    ),
    Rule(13, "A tilted stack is ordered along the normal", "PS3.3 C.7.6.2.1.1"): (
        f"{UNIT}/base/test_arrangement.py::test_gantry_tilt_orders_by_the_normal",
    ),
    Rule(
        14, "Every cut header is told from a complete one; lookalikes of pixel data are data", "PS3.5 7.1"
    ): (
        f"{UNIT}/sources/headers/test_scan.py::test_every_cut_is_told_from_a_complete_header",
        f"{UNIT}/sources/headers/test_scan.py::test_lookalikes_are_data",
    ),
    Rule(14, "The data set tells its encoding better than the file meta information", "PS3.10 7.1"): (
        f"{UNIT}/sources/headers/test_scan.py::test_the_data_set_tells_its_encoding_better_than_the_declaration",
    ),
    Rule(
        15,
        "Offset tables that are empty, wrong or extended; frames in several fragments",
        "PS3.5 A.4; PS3.3 C.7.6.3.1.8",
    ): (
        f"{UNIT}/sources/headers/test_locations.py::test_an_offset_table_that_does_not_hold_locates_nothing",
        f"{UNIT}/sources/headers/test_locations.py::test_the_extended_offset_table_wins",
        f"{UNIT}/sources/headers/test_locations.py::test_frames_without_a_table_are_told_by_fragment_or_by_codestream",
        f"{UNIT}/pixels/test_frames.py::test_a_wrong_table_costs_one_more_request_and_no_frame",
    ),
    Rule(16, "Character sets and their escapes; what cannot be read loses nothing else", "PS3.5 6.1"): (
        f"{UNIT}/sources/headers/test_values.py::test_character_sets",
        f"{UNIT}/sources/headers/test_values.py::test_bytes_that_the_character_set_lacks_lose_nothing_else",
        f"{UNIT}/sources/headers/test_values.py::test_real_spellings_of_values",
    ),
    Rule(17, "Pixels that are cut off or disagree with the header are refused by name", OURS): (
        f"{UNIT}/pixels/codecs/test_native.py::test_a_frame_that_is_cut_off_is_refused",
        f"{UNIT}/pixels/codecs/test_codecs.py::test_cut_off_codestreams_are_refused_in_one_line",
        f"{UNIT}/pixels/codecs/test_codecs.py::test_rubbish_is_refused",
    ),
    Rule(18, "A plane lies where its origin says, whatever it reaches beyond", "PS3.3 C.9.2"): (
        f"{UNIT}/products/pictures/test_overlays.py::test_plane_with_data_is_drawn",
        f"{UNIT}/products/pictures/test_overlays.py::test_plane_that_reaches_out_of_the_image_is_cut",
        f"{UNIT}/products/pictures/test_overlays.py::test_reduced_frames_have_theirs_in_place",
    ),
    Rule(18, "Each frame has its own; planes among the pixels' unused bits", "PS3.3 C.9.3; PS3.5 8.1.2"): (
        f"{UNIT}/products/pictures/test_overlays.py::test_frames_have_their_own",
        f"{UNIT}/products/pictures/test_overlays.py::test_plane_in_the_pixel_data_is_drawn",
    ),
    Rule(19, "The smallest level is the preview; labels and overviews never are", "PS3.3 C.8.12.4.1.1"): (
        f"{UNIT}/products/pictures/test_parts.py::test_the_preview_of_a_slide_is_its_smallest_level",
        f"{UNIT}/products/pictures/test_parts.py::test_a_label_is_shown_only_when_chosen",
    ),
    Rule(19, "Tiles make the total pixel matrix, full or sparse, with odd edges", "PS3.3 C.7.6.17.3"): (
        f"{UNIT}/products/pictures/test_parts.py::test_a_level_is_highdicoms_total_pixel_matrix",
        f"{UNIT}/products/pictures/test_parts.py::test_focal_planes_and_optical_paths_are_slices",
        f"{UNIT}/products/pictures/test_parts.py::test_missing_tiles_are_white_in_colour",
    ),
}

HEAD = """\
# Conformance

This page compares what the product shows with what the DICOM standard says. `make conformance` runs the
tests and writes the page, and a test asserts that a fresh run gives the same page.

Test vectors prove each rule below. Their expected values come from the standard's formulas, in exact
fractions, apart from the code under test. *n of n* counts vectors. Most of them are whole DICOM objects
that go through listing, index, byte ranges, decoding, contrast, resize and JPEG; those of one step are in
`tests/vectors/test_contrast_vectors.py` and `tests/vectors/test_colour_vectors.py`. *pass* stands for
tests in `tests/unit`.

To repeat it, run `make conformance` and look at `git diff docs/conformance.md`. `make gallery` renders a
collection of files on one page for you to look at. `DICOM_TEST_DATA` names the collection; without it, the
part about real files stays as it is.
"""


@dataclass(slots=True, eq=False)  # plugins are held in a set
class Recorder:
    """A pytest plugin that counts outcomes by rule.

    Attributes:
        counts: By rule, how many vectors passed, and how many ran.
        known: By rule, why some are known to fail.
        nodes: By test, without its parameters, whether all of it passed.
    """

    counts: dict[Rule, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    known: dict[Rule, set[str]] = field(default_factory=lambda: defaultdict(set))
    nodes: dict[str, bool] = field(default_factory=dict)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Function, call: pytest.CallInfo[None]) -> object:
        """Note the outcome of a test's body, and of a setup that fails or skips."""
        report = yield
        if call.when == "call" or report.outcome != "passed":
            node = item.nodeid.partition("[")[0]
            self.nodes[node] = self.nodes.get(node, True) and report.outcome == "passed"
            rule = getattr(item.function, "rule", None)
            if rule is not None:
                self.counts[rule][report.outcome if not hasattr(report, "wasxfail") else "known"] += 1
                if hasattr(report, "wasxfail"):
                    self.known[rule].add(report.wasxfail)
        return report


def run() -> Recorder:
    """Run the vectors and the named tests.

    Raises:
        SystemExit: One of them fails, or is not there.
    """
    recorder = Recorder()
    named = [node for nodes in ELSEWHERE.values() for node in nodes]
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.chdir(ROOT):
        status = pytest.main(["-q", "-p", "no:cacheprovider", VECTORS, *named], plugins=[recorder])
    if status != pytest.ExitCode.OK:
        raise SystemExit(
            f"{output.getvalue()}\nconformance: the vectors do not pass; the page is left as it is"
        )
    return recorder


def rules(recorder: Recorder) -> str:
    """A table of rules for each item."""
    rows: dict[int, list[str]] = defaultdict(list)
    for rule, counts in recorder.counts.items():
        result = f"{counts['passed']} of {counts.total()}"
        if recorder.known[rule]:
            result = f"**{result}**: {'; '.join(sorted(recorder.known[rule]))}"
        rows[rule.item].append(f"| {rule.text} | {rule.standard} | {result} |")
    for rule, nodes in ELSEWHERE.items():
        failed = [node for node in nodes if not recorder.nodes.get(node)]
        if failed:
            raise SystemExit(f"conformance: did not pass: {', '.join(failed)}")
        rows[rule.item].append(f"| {rule.text} | {rule.standard} | pass |")
    sections = [
        f"## {item} {ITEMS[item]}\n\n| Rule | Standard | Result |\n|---|---|---|\n"
        + "\n".join(rows[item])
        + "\n"
        for item in sorted(rows)
    ]
    return "\n".join(sections)


def real_files(folder: Path) -> str:
    """What real files give: stored values by transfer syntax, and the peers."""
    compared = truth.compare(folder)
    lines = [
        REAL,
        f"Frame 0 of {len(compared)} files, read by the product from listing to codec and compared",
        "with independent decoders. *Exact*: every bit, the shape and the type. Lossy codecs may differ by",
        "rounding: the largest difference is that of a sample from pydicom's decoders if they read the file,",
        "else that of the least and the greatest sample.\n",
        "| Transfer syntax | Files | Exact | Lossy, not exact | Largest difference | Refused |",
        "|---|---|---|---|---|---|",
    ]
    by_syntax: dict[str, list[truth.Comparison]] = defaultdict(list)
    for one in compared:
        by_syntax[one.transfer_syntax_uid].append(one)
    for uid, files in sorted(by_syntax.items(), key=lambda pair: [int(part) for part in pair[0].split(".")]):
        near = [one for one in files if not one.exact and not one.reason]
        largest = max((one.bounds if one.difference is None else one.difference for one in near), default=0.0)
        cells = (
            UID(uid).name if UID(uid).name != uid else f"`{uid}`",
            len(files),
            sum(one.exact for one in files),
            len(near) or "",
            f"{largest:g}" if near else "",
            sum(bool(one.reason) for one in files) or "",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", "Refused, and why:", ""]
    lines += [f"- `{one.file}`: {one.reason}" for one in compared if one.reason]
    return "\n".join([*lines, "", *_peers(folder)])


def _peers(folder: Path) -> list[str]:
    """How our display values stand beside others'."""
    from crosscheck import test_peers  # noqa: PLC0415 - it reads the collection at import

    lines = [
        "Display values under the files' own windows and lookup tables, compared with those of other",
        "software, in files (four of each series). `tests/crosscheck/test_peers.py` lists each file that",
        "*differs*, with the reason and the part of the standard that decides.",
        "",
        "| | Equal | Within one level | Differs | Has no picture or no such window |",
        "|---|---|---|---|---|",
    ]
    for peer in peers.PEERS:
        if peers.missing(peer):
            continue
        counts: Counter[str] = Counter()
        for series in test_peers.folders():
            counts += test_peers.compare(folder, series, peer)
        shown = [str(counts[name]) for name in ("equal", "within", "listed", "refused")]
        lines.append(f"| {peer} | {' | '.join(shown)} |")
    return [*lines, ""]


def page() -> str:
    """The page, its last part as it is where there is no collection."""
    kept = PAGE.read_text().partition(REAL) if PAGE.exists() else ("", "", "")
    folder = Path(os.environ.get("DICOM_TEST_DATA") or os.devnull)
    real = real_files(folder) if (folder / "truth.csv").is_file() else "".join(kept[1:])
    return f"{HEAD}\n{rules(run())}\n{real}"


def _without_absent_peers(text: str) -> str:
    absent = tuple(f"| {peer} |" for peer in peers.PEERS if peers.missing(peer))
    return "".join(
        line for line in text.splitlines(keepends=True) if not (absent and line.startswith(absent))
    )


def main() -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    fresh = page()
    if not check:
        PAGE.write_text(fresh)
        sys.stdout.write(f"{PAGE} is written\n")
        return 0
    if _without_absent_peers(PAGE.read_text()) == _without_absent_peers(fresh):
        return 0
    sys.stdout.write("docs/conformance.md is not what a fresh run gives; make conformance\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
