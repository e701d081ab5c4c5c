import itertools

import pytest

from dicom_series_preview.base.errors import LimitError, StorageError
from dicom_series_preview.sources.storage.deadline import Deadline
from dicom_series_preview.sources.storage.pages import Entry, parse_multistatus, parse_page

FOLDER = "http://h:1/a%20root/s/"

NGINX = """<html><head><title>Index of /</title></head><body><h1>Index of /</h1><hr><pre><a href="../">../</a>
<a href="b/">b/</a>                                   20-Nov-2026 06:55                   -
<a href="a%20b%231.dcm">a b#1.dcm</a>                 20-Nov-2026 06:55                1234
</pre><hr></body></html>"""
APACHE = """<table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td><a href="/a%20root/">Parent Directory</a></td><td>&nbsp;</td><td align="right">  - </td></tr>
<tr><td><img alt="[DIR]"></td><td><a href="b/">b/</a></td>
<td align="right">2026-11-20 06:55  </td><td>  - </td></tr>
<tr><td><a href="1.dcm">1.dcm</a></td>
<td align="right">2026-11-20 06:55  </td><td align="right">1.2K</td></tr></table>"""


def test_nginx_page() -> None:
    """Nginx's page gives names, folders, and date with size as the version."""
    assert parse_page(NGINX, FOLDER) == [
        Entry("b", is_folder=True),
        Entry("a b#1.dcm", is_folder=False, version="page 20-Nov-2026 06:55 1234"),
    ]


def test_apache_page() -> None:
    """Apache's page is read the same way, without its links for sorting and to the folder above."""
    assert parse_page(APACHE, FOLDER) == [
        Entry("b", is_folder=True),
        Entry("1.dcm", is_folder=False, version="page 2026-11-20 06:55 1.2K"),
    ]


@pytest.mark.parametrize(
    "href",
    [
        "",
        "../",
        "..",
        ".",
        "./",
        "/",
        "/a%20root/",
        "/a%20root/sibling/1",
        "?C=N",
        "#top",
        "mailto:me@example.com",
        "javascript:x()",
        "http://other/a%20root/s/1",
        "https://h:1/a%20root/s/1",
        "//other/a%20root/s/1",
        "%2e%2e/up",
        "x/%2E%2E/%2e%2e/up",
        "a%00b",
        "http://[bad/",
    ],
)
def test_links_that_lead_elsewhere(href: str) -> None:
    """Only links below the folder count."""
    assert parse_page(f'<a href="{href}">x</a><a>no link</a>', FOLDER) == []


@pytest.mark.parametrize(
    "href", ["x%201", "./x%201", "/a%20root/s/x%201", "http://h:1/a%20root/s/x%201", "/a root/s/x 1"]
)
def test_links_in_every_form(href: str) -> None:
    """Relative and absolute links to the same object are the same."""
    page = f'<a href="{href}">x</a> <a href="{href}">again</a>'
    assert parse_page(page, FOLDER) == [Entry("x 1", is_folder=False)]


def multistatus(*responses: str) -> bytes:
    """A WebDAV document."""
    return f'<d:multistatus xmlns:d="DAV:">{"".join(responses)}</d:multistatus>'.encode()


def response(href: str, properties: str = "", status: str = "HTTP/1.1 200 OK") -> str:
    """One entry of it."""
    return (
        f"<d:response><d:href>{href}</d:href><d:propstat><d:prop>{properties}</d:prop>"
        f"<d:status>{status}</d:status></d:propstat></d:response>"
    )


FILE = "<d:getcontentlength>12</d:getcontentlength>"


@pytest.mark.parametrize(
    ("properties", "entry"),
    [
        (f'{FILE}<d:getetag>"e"</d:getetag>', Entry("x 1", is_folder=False, size=12, version='"e"')),
        (f"{FILE}<d:getetag>e</d:getetag>", Entry("x 1", is_folder=False, size=12, version='"e"')),
        (f'{FILE}<d:getetag>W/"e"</d:getetag>', Entry("x 1", is_folder=False, size=12, version='W/"e"')),
        (
            f"{FILE}<d:getlastmodified>now</d:getlastmodified>",
            Entry("x 1", is_folder=False, size=12, version="now"),
        ),
        ("", Entry("x 1", is_folder=False)),
        ("<d:resourcetype><d:collection/></d:resourcetype>", Entry("x 1", is_folder=True)),
    ],
)
def test_multistatus(properties: str, entry: Entry) -> None:
    """WebDAV gives size, version and kind; the folder itself and what is outside are left out."""
    body = multistatus(
        response("/a%20root/s/", "<d:resourcetype><d:collection/></d:resourcetype>"),
        response("/a%20root/s/x%201", properties),
        response("/a%20root/other", FILE),
        response("", FILE),
    )
    assert parse_multistatus(body, FOLDER) == [entry]


def test_multistatus_behind_a_proxy() -> None:
    """A server that names itself by its inner host is understood."""
    body = multistatus(response("http://inner:8080/a%20root/s/1", FILE))
    assert parse_multistatus(body, FOLDER) == [Entry("1", is_folder=False, size=12)]


def test_properties_that_are_not_there() -> None:
    """What a server says about properties that it does not have is passed over."""
    body = multistatus(response("1", "<d:getcontentlength>99</d:getcontentlength>", "HTTP/1.1 404 Not Found"))
    assert parse_multistatus(body, FOLDER) == [Entry("1", is_folder=False)]


@pytest.mark.parametrize("length", ["9" * 5_000, "9" * 19, "-5", "\u0663", "\u00b2"])
def test_sizes_that_nothing_can_have(length: str) -> None:
    """They are taken as not told."""
    body = multistatus(response("1", f"<d:getcontentlength>{length}</d:getcontentlength>"))
    assert parse_multistatus(body, FOLDER) == [Entry("1", is_folder=False)]


@pytest.mark.parametrize("etag", ['"a&#10;X-Evil: 1"', '"&#9731;"', "a&#13;b"])
def test_etags_that_no_header_can_hold(etag: str) -> None:
    """The date stands for them."""
    properties = f"<d:getetag>{etag}</d:getetag><d:getlastmodified>now</d:getlastmodified>"
    body = multistatus(response("1", properties))
    assert parse_multistatus(body, FOLDER) == [Entry("1", is_folder=False, version="now")]


BOMB = b'<!DOCTYPE x [<!ENTITY a "aaaa">]><d:multistatus xmlns:d="DAV:">&a;</d:multistatus>'
STRANGE = b'<?xml version="1.0" encoding="strange"?><d:multistatus xmlns:d="DAV:"/>'


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", BOMB, STRANGE])
def test_untrusted_xml(body: bytes) -> None:
    """What is no XML, or defines entities, is an error."""
    with pytest.raises(StorageError, match="XML"):
        parse_multistatus(body, FOLDER)


@pytest.mark.parametrize("piece", ["<!", "</a ", "<a ", "<a/", '<a a="', "<!--", "<?", "<![", "<a href=x "])
def test_a_page_without_an_end_to_its_tags(piece: str) -> None:
    """It is no listing, and not read to its end."""
    with pytest.raises(StorageError, match="directory page"):
        parse_page(piece * 200_000, FOLDER)


def test_a_page_that_is_cut_in_a_tag() -> None:
    """The links before are read, and a long tag is left."""
    page = '<a href="1">1</a>' + '<a a="' * 8_000
    assert parse_page(page, FOLDER) == [Entry("1", is_folder=False)]


def test_a_long_script_in_a_page() -> None:
    """It is passed over."""
    page = f'<script>{"a < b;" * 100_000}</script><a href="1">1</a>'
    assert parse_page(page, FOLDER) == [Entry("1", is_folder=False)]


def test_of_the_text_beside_a_link_only_the_beginning_is_kept() -> None:
    """However much there is, it is not gathered."""
    page = '<a href="1">1</a>' + "x<b>" * 10_000 + "20-Nov-2026 06:55 1234"
    assert parse_page(page, FOLDER) == [Entry("1", is_folder=False)]


def ending() -> Deadline:
    """A deadline that is over when it has been looked at a few times."""
    ticks = itertools.count()
    return Deadline(3.5, clock=lambda: float(next(ticks)))


@pytest.mark.parametrize("page", ["x<b>" * 100_000, '<a href="1">1</a>' * 3_000])
def test_a_page_is_read_no_longer_than_it_is_waited_for(page: str) -> None:
    """The time is looked at between pieces and between links."""
    with pytest.raises(LimitError):
        parse_page(page, FOLDER, ending())


@pytest.mark.parametrize("response_", [response("1", FILE), " " * 1_000])
def test_a_multistatus_is_read_no_longer_than_it_is_waited_for(response_: str) -> None:
    """The time is looked at between pieces and between entries."""
    with pytest.raises(LimitError):
        parse_multistatus(multistatus(response_ * 2_000), FOLDER, ending())


def test_responses_in_responses() -> None:
    """Only those that the document itself holds count, and what each itself says."""
    inner = f"<d:response><d:href>1</d:href>{'<d:response><d:href>2</d:href>' * 1_000}"
    body = multistatus(inner + response("3", FILE) + "</d:response>" * 1_001)
    assert parse_multistatus(body, FOLDER) == [Entry("1", is_folder=False)]
