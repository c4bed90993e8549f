"""Conditional requests: RFC 9110, section 13, in the order of its section 13.2.2."""

import json

import pytest

from tests.unit.representations import BODY, DATE, EARLIER, ETAG, LATER, ask

OWN, OTHER = f'"{ETAG}"', '"another"'


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        (OWN, True),
        ("*", True),
        (" * ", True),
        (f"{OTHER}, {OWN}", True),
        (f"{OTHER},{OWN}", True),
        (f"  {OWN}  ", True),
        (OTHER, False),
        (ETAG, False),
        ("", False),
        (f"{OTHER}, *", False),
    ],
)
def test_tags_match_one_of_a_list_or_any(header: str, matches: bool) -> None:
    assert ask({"If-None-Match": header}).status == (304 if matches else 200)
    assert ask({"If-Match": header}).status == (200 if matches else 412)


def test_weak_tags_save_a_transfer_but_never_stand_for_the_very_bytes() -> None:
    weak = f"W/{OWN}"  # section 8.8.3.2: If-None-Match compares weakly, If-Match strongly
    assert ask({"If-None-Match": weak}).status == 304
    assert ask({"If-None-Match": 'W/"another"'}).status == 200
    assert ask({"If-Match": weak}).status == 412


@pytest.mark.parametrize(
    ("date", "since", "unmodified"),
    [
        (DATE, 304, 200),  # the same second, whatever part of it the store knows
        (LATER, 304, 200),
        (EARLIER, 200, 412),
        ("Tue, 08 Dec 2026 10:20:29 GMT", 200, 412),
        ("Tue, 08 Dec 2026 10:20:31 GMT", 304, 200),
        ("Tue, 08 Dec 2026 09:20:30 -0100", 304, 200),
        ("Tue, 08 Dec 2026 10:20:30 -0000", 304, 200),  # which says of no zone, and counts as UTC
        ("Tue, 08 Dec 2026 10:20:29 -0000", 200, 412),
        ("yesterday", 200, 200),  # what is no date is ignored
        ("", 200, 200),
    ],
)
def test_dates_are_compared_to_the_second(date: str, since: int, unmodified: int) -> None:
    assert ask({"If-Modified-Since": date}).status == since
    assert ask({"If-Unmodified-Since": date}).status == unmodified


def test_tags_decide_before_dates_do() -> None:
    assert ask({"If-None-Match": OTHER, "If-Modified-Since": LATER}).status == 200
    assert ask({"If-None-Match": OWN, "If-Modified-Since": EARLIER}).status == 304
    assert ask({"If-Match": OWN, "If-Unmodified-Since": EARLIER}).status == 200
    assert ask({"If-Match": OTHER, "If-Unmodified-Since": LATER}).status == 412


def test_what_must_not_have_changed_is_looked_at_first() -> None:
    assert ask({"If-Match": OTHER, "If-None-Match": OWN}).status == 412
    assert ask({"If-Unmodified-Since": EARLIER, "If-None-Match": OWN}).status == 412
    assert ask({"If-Match": OWN, "If-None-Match": OWN}).status == 304
    assert ask({"If-Unmodified-Since": LATER, "If-Modified-Since": LATER}).status == 304


def test_preconditions_come_before_ranges() -> None:
    assert ask({"If-None-Match": OWN, "Range": "bytes=0-1"}).status == 304
    assert ask({"If-Match": OTHER, "Range": "bytes=5000-"}).status == 412
    assert ask({"If-Match": OWN, "Range": "bytes=0-1"}).status == 206


@pytest.mark.parametrize(
    ("headers", "field"),
    [({"If-Match": OTHER}, "If-Match"), ({"If-Unmodified-Since": EARLIER}, "If-Unmodified-Since")],
)
def test_a_failed_precondition_is_a_problem_that_names_the_field(headers: dict[str, str], field: str) -> None:
    problem = json.loads(ask(headers).body)
    assert (problem["status"], problem["title"], problem["parameter"]) == (412, "Precondition Failed", field)
    assert problem["given"] == headers[field]


def test_not_modified_has_no_bytes_and_what_a_cache_updates() -> None:
    # Section 15.4.5: the fields that 200 would have had, among them ETag, Cache-Control and Vary.
    reply = ask({"If-None-Match": OWN}, vary="Accept")
    usual = ask(vary="Accept").headers
    assert (reply.status, reply.body, reply.is_complete) == (304, b"", True)
    assert {name: reply.headers[name] for name in ("etag", "cache-control", "vary", "last-modified")} == {
        name: usual[name] for name in ("etag", "cache-control", "vary", "last-modified")
    }
    assert "content-length" not in reply.headers and "content-type" not in reply.headers


def test_no_condition_at_all_is_always_met() -> None:
    assert ask().body == BODY
