"""Entries and pages of a log: what is another version or form is none."""

import json

import pytest

from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.log import PAGE_ENTRIES, parse_entry, parse_page
from opaque_jobs.errors import InvalidInputError

ENTRY = {
    "v": 1, "workspace_id": "ws-1", "seq": 0, "at": "2026-03-01T09:00:00+00:00", "kind": "run", "subject": "run-1", "facts": {},
    "statement": None,
}  # fmt: skip
PAGE = {"v": 1, "workspace_id": "ws-1", "first": 0, "entries": [], "checkpoint": ""}


def test_entry_of_another_version_or_before_the_first_is_refused():
    assert parse_entry(canonical_bytes(ENTRY)).to_bytes() == canonical_bytes(ENTRY)
    for over in ({"v": 2}, {"v": 0}, {"seq": -1}, {"kind": "rum"}, {"more": 1}):
        with pytest.raises(InvalidInputError):
            parse_entry(canonical_bytes(ENTRY | over))


@pytest.mark.parametrize("entries", [None, 1, {str(number): number for number in range(PAGE_ENTRIES + 1)}, [1]])
def test_page_whose_entries_are_no_list_of_entries_is_refused(entries):
    assert parse_page(canonical_bytes(PAGE)).entries == ()
    with pytest.raises(InvalidInputError):
        parse_page(json.dumps(PAGE | {"entries": entries}, sort_keys=True, separators=(",", ":")).encode())


def test_page_is_too_long_by_the_number_of_its_entries_whatever_they_are():
    for count in (PAGE_ENTRIES, PAGE_ENTRIES + 1):
        with pytest.raises(InvalidInputError) as caught:
            parse_page(canonical_bytes(PAGE | {"entries": [1] * count}))
        assert ("too many" in caught.value.message) is (count > PAGE_ENTRIES)
