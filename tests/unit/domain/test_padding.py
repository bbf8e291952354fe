import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.domain.padding import FLOOR_BYTES, pad, padded_size, unpad
from opaque_jobs.errors import TrustError


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        (0, 4096),
        (1, 4096),
        (4096, 4096),
        (4097, 4352),
        (9_999, 10_240),
        (1 << 20, 1 << 20),
        ((1 << 30) + 1, (1 << 30) + (1 << 25)),
    ],
)
def test_padded_size_of_fixed_sizes_is_padmes(size, padded):
    assert padded_size(size) == padded


@given(st.integers(FLOOR_BYTES, 1 << 45))
def test_padded_size_costs_at_most_an_eighth_and_is_its_own(size):
    padded = padded_size(size)

    assert size <= padded <= size * 1.125
    assert padded_size(padded) == padded


def test_padded_sizes_up_to_a_gibibyte_are_few():
    assert len({padded_size(size) for size in range(0, 1 << 30, 4099)}) < 500


@given(st.binary(max_size=9000), st.integers(0, 300))
def test_pad_and_unpad_give_the_same_bytes(data, zeros):
    assert unpad(pad(data + bytes(zeros))) == data + bytes(zeros)


@pytest.mark.parametrize("padded", [b"", bytes(4096), b"\x80", b"a\x80" + bytes(100), pad(b"a") + b"\0", pad(b"a")[:-1] + b"b"])
def test_unpad_of_what_pad_does_not_make_is_refused(padded):
    with pytest.raises(TrustError):
        unpad(padded)
