"""Which coordinator's addresses a member's client takes."""

import pytest

from opaque_jobs.client.login import checked_address
from opaque_jobs.errors import InvalidInputError


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://coordinator.example", "https://coordinator.example"),
        ("https://coordinator.example:8443/", "https://coordinator.example:8443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/", "http://localhost:8080"),
    ],
)
def test_address_is_reduced_to_its_origin(address, origin):
    assert checked_address(address) == origin


@pytest.mark.parametrize(
    "address",
    [
        "", "coordinator.example", "ftp://coordinator.example", "https://", "https://a:b", "http://coordinator.example",
        "http://10.0.0.1:80", "https://user:word@coordinator.example", "https://coordinator.example/path", "https://a?b",
        "http://127.0.0.1.example",
    ],
)  # fmt: skip
def test_address_that_is_none_or_is_plain_beyond_this_machine_is_refused(address):
    with pytest.raises(InvalidInputError):
        checked_address(address)
