import pytest

import make_dicom as make
from dicom_series_preview.archive.index.build import build
from dicom_series_preview.archive.index.index import Index
from indexing import PROVENANCE, by_file, metadata_of, records_of, series, table_of


def test_private_elements_are_named_by_their_creator():
    """A private element's column is named `gggg,ee:CREATOR`, wherever its block lies."""
    sources = []
    for number in (1, 2):
        source = make.image(number)
        source.private_block(0x0019, "MAKER ONE", create=True).add_new(0x08, "DS", number)
        sources.append(source)
    table = table_of(*sources)
    assert by_file(table, "0019,08:MAKER ONE") == {"000.dcm": ["1"], "001.dcm": ["2"]}
    assert metadata_of(table, "0019,08:MAKER ONE")["tag"] == "0019,1008"


def test_a_private_tag_of_two_creators_is_two_columns():
    """A value of another creator's element does not stand in the column of the others, but in its own."""
    sources = []
    for number, creator in ((1, "TWO"), (2, "ONE"), (3, "ONE")):
        source = make.image(number)
        source.private_block(0x0019, creator, create=True).add_new(0x08, "LO", f"of {creator}")
        sources.append(source)
    table = table_of(*sources)
    assert by_file(table, "0019,08:ONE") == {"000.dcm": None, "001.dcm": ["of ONE"], "002.dcm": ["of ONE"]}
    assert by_file(table, "0019,08:TWO") == {"000.dcm": ["of TWO"], "001.dcm": None, "002.dcm": None}
    assert "OtherElements" not in table.column_names


# Of two objects the creators of each, in the order of their blocks.
MOVED = {
    "swapped": (("A", "B"), ("B", "A"), ("A", "B")),
    "one more": (("A", "B"), ("C", "A", "B")),
    "one less": (("A", "B"), ("B",)),
    "twice": (("A", "A", "B"), ("B", "A", "A"), ("A",)),
    "three times": (("B", "A"), ("A", "A", "A"), ("B", "A", "A", "A"), ("A", "C", "A")),
    "strangers": (("A",), ("B",), ("C", "B")),
}
PRIVATE = {
    "LO": lambda text: text,
    "DS": lambda text: len(text) * 1.5,
    "OB": lambda text: text.encode() * 2,
    "OW": lambda text: text.encode() * 1000,
    "SQ": lambda text: [make.dataset(CodeValue=text)],
}


def with_blocks(number, creators, *, same):
    """An object with a block of each creator, and elements of many VRs in each."""
    source = make.image(number)
    for at, creator in enumerate(creators):
        block = 0x10 + at
        make.add(source, 0x00190000 | block, "LO", creator)
        for element, (vr, value) in enumerate(PRIVATE.items(), 1):
            text = "same" if same else f"{creator} {creators[:at].count(creator)} {len(creators)}"
            make.add(source, 0x00190000 | block << 8 | element, vr, value(text.ljust(8)))
    return source


@pytest.mark.parametrize("case", MOVED)
@pytest.mark.parametrize("same", [False, True])
def test_a_creators_block_may_have_another_number(case, same):
    """A private value stands in its creator's column whatever the block's number; the header comes back."""
    sources = [with_blocks(i, creators, same=same) for i, creators in enumerate(MOVED[case])]
    for order in (sources, sources[::-1]):
        objects = series(*order)
        table = table_of(*order)
        for creator in {creator for creators in MOVED[case] for creator in creators}:
            expected = {}
            for name, source in zip(objects, order, strict=True):
                blocks = [n for n in range(0x10, 0x14) if source.get(0x00190000 | n, None)]
                own = [n for n in blocks if source[0x00190000 | n].value == creator]
                text = source[0x00190001 | own[0] << 8].value if own else None
                expected[name] = text and [text.rstrip(" ")]
            column = f"0019,01:{creator}"
            if column in table.column_names:
                assert by_file(table, column) == expected
            else:
                # It is a constant, of a block that has one creator.
                assert len({str(value) for value in expected.values()}) == 1
        assert len(set(table.column_names)) == len(table.column_names)
        index = Index.from_parquet(Index(table).to_parquet())
        given = {record.name: record.elements for record in index.records()}
        assert given == {record.name: record.elements for record in records_of(objects)}
        assert build(index.records(), PROVENANCE).equals(index.table)
