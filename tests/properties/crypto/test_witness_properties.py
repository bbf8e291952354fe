"""Cosignatures of witnesses: those of known ones count once they hold, and lines of others say nothing."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, sign_checkpoint
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.witnesses import LogWitness, cosigned
from opaque_jobs.errors import InvalidInputError, TrustError

LOG, ONE, OTHER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
FIRST, SECOND = LogWitness(name="witness.example/1", key=ONE.public), LogWitness(name="witness.example/2", key=OTHER.public)
NOTE = sign_checkpoint(Checkpoint(origin=log_origin("ws-1"), size=7, root=b"\3" * 32), LOG)
BODY = NOTE.partition("\n\n")[0] + "\n"


def line(witness=FIRST, key=ONE, *, at=1_700_000_000, body=BODY, named=None, head=None, cut=None) -> str:
    """Cosign as a witness does, or as somebody else would."""
    signature = key.sign(f"cosignature/v1\ntime {at}\n{body}".encode())
    raw = (witness.key_id if head is None else head) + at.to_bytes(8, "big") + signature
    return f"\u2014 {named or witness.name} {base64.b64encode(raw[:cut]).decode()}\n"


@given(at=st.integers(0, 2**36 - 1))
def test_cosignature_of_a_known_witness_counts_with_its_time(at):
    assert cosigned(NOTE + line(at=at), [FIRST, SECOND]) == {FIRST: datetime.fromtimestamp(at, UTC)}


def test_cosignatures_may_stand_before_and_after_the_logs_own():
    text, _, own = NOTE.partition("\n\n")
    note = f"{text}\n\n{line()}{own}{line(SECOND, OTHER)}"
    assert set(cosigned(note, [FIRST, SECOND])) == {FIRST, SECOND}


@pytest.mark.parametrize(
    "unknown",
    [
        line(SECOND, OTHER), line(named="somebody.else"), line(head=b"\0\0\0\0"), "\u2014 witness.example/1 no base64\n",
        "\u2014 witness.example/1\n", "no line at all\n", "\n", "",
    ],
)  # fmt: skip
def test_line_of_another_signer_or_form_is_passed_over(unknown):
    assert cosigned(NOTE + unknown, [FIRST]) == {}
    assert set(cosigned(NOTE + unknown + line(), [FIRST])) == {FIRST}


@pytest.mark.parametrize(
    "false",
    [
        line(key=OTHER), line(body=BODY.replace("\n7\n", "\n8\n")), line(cut=-1), line(cut=12), line(at=1 << 36),
        line(body=BODY + "\n"),
    ],
)  # fmt: skip
def test_line_under_a_witness_name_and_id_that_does_not_hold_is_refused(false):
    with pytest.raises(TrustError):
        cosigned(NOTE + false, [FIRST])


def test_time_of_a_cosignature_is_signed():
    moved = base64.b64decode(line().split(" ")[2])
    moved = moved[:11] + bytes([moved[11] ^ 1]) + moved[12:]
    with pytest.raises(TrustError):
        cosigned(f"{NOTE}\u2014 {FIRST.name} {base64.b64encode(moved).decode()}\n", [FIRST])


def of_key(raw: bytes) -> str:
    return f"{FIRST.name}+{FIRST.key_id.hex()}+{base64.b64encode(raw).decode()}"


def test_witness_comes_back_from_its_text():
    assert LogWitness.parse(FIRST.text) == FIRST


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "a+b+c", FIRST.text + "=", FIRST.text.replace("witness", "other"), f"+{FIRST.text.partition('+')[2]}",
        of_key(b"\1" + ONE.public.raw), of_key(b"\4" + ONE.public.raw[1:]),
    ],
)  # fmt: skip
def test_text_that_is_no_witness_is_refused(text):
    with pytest.raises(InvalidInputError):
        LogWitness.parse(text)
