"""URLs in any script, as ASCII; the right answers are those of RFC 3987 and of browsers' address bars."""

import pytest

from progimage.fetching.iri import decoded, to_uri


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("http://example.org/a.png?b=c#d", "http://example.org/a.png?b=c#d"),
        ("http://example.org/%C3%A9.png", "http://example.org/%C3%A9.png"),
        ("http://example.org/é.png", "http://example.org/%C3%A9.png"),
        ("http://example.org/%20é ü.png?q=ß&r=%26", "http://example.org/%20%C3%A9%20%C3%BC.png?q=%C3%9F&r=%26"),
        ("http://example.org/日本/画像.png", "http://example.org/%E6%97%A5%E6%9C%AC/%E7%94%BB%E5%83%8F.png"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://BÜCHER.example:8080/é", "http://xn--bcher-kva.example:8080/%C3%A9"),
        ("http://例え.テスト/", "http://xn--r8jz45g.xn--zckzah/"),
        ("/ä", "/%C3%A4"),
        ("../ä b.png", "../%C3%A4%20b.png"),
        (
            "http://１２７.０.０.１/é",
            "http://127.0.0.1/%C3%A9",
        ),  # an address, which is then checked
        ("http://a。b/é", "http://a.b/%C3%A9"),
    ],
)
def test_what_is_asked_for_is_the_same(given: str, uri: str) -> None:
    assert to_uri(given) == uri
    assert to_uri(uri) == uri


@pytest.mark.parametrize("host", ["a\u200bb\u0301\u0301.é\u2028", "-é-\u0301", "é" * 80])
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValueError, match="not a host name"):
        to_uri(f"http://{host}/")


def test_a_header_may_be_utf_8_or_latin_1() -> None:
    assert decoded("/é".encode()) == decoded("/é".encode("latin-1")) == "/é"


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("http://a b/", "http://a b/"),  # which is for others to refuse
        ("http://user@bücher.example/", "http://user@xn--bcher-kva.example/"),
        ("http://us:pä@bücher.example:80/", "http://us:pä@xn--bcher-kva.example:80/"),
        ("/a b", "/a%20b"),
        ("/a b?c d#e f", "/a%20b?c%20d#e%20f"),
        ("/é?a=b&c=/;:@!$'()*+,[]~-._", "/%C3%A9?a=b&c=/;:@!$'()*+,[]~-._"),
        ("/é%2F", "/%C3%A9%2F"),
        ('/é"<>\\^`{|}', "/%C3%A9%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("", ""),
    ],
)
def test_only_what_a_uri_can_not_have_is_encoded(given: str, uri: str) -> None:
    assert to_uri(given) == uri
