"""Checkpoints: what was signed comes back, in one form only, and with any byte changed it is refused."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, sign_checkpoint, verifier_key, verify_checkpoint
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError

KEY, OTHER = SigningKey(b"\1" * 32), SigningKey(b"\2" * 32)
roots = st.binary(min_size=32, max_size=32)
sizes = st.integers(0, 10**15 - 1)


def make(size=7, root=b"\3" * 32, workspace_id="ws-1"):
    return Checkpoint(origin=log_origin(workspace_id), size=size, root=root)


def verify(note, key=KEY, workspace_id="ws-1"):
    return verify_checkpoint(note, key.public, workspace_id=workspace_id)


@given(size=sizes, root=roots)
def test_checkpoint_comes_back_from_its_note_and_from_its_short_form(size, root):
    checkpoint = make(size, root)
    assert verify(sign_checkpoint(checkpoint, KEY)) == checkpoint
    assert Checkpoint.parse_seen(checkpoint.seen, workspace_id="ws-1") == checkpoint


@settings(max_examples=3, deadline=None)
@given(size=sizes, root=roots)
def test_each_byte_of_a_checkpoint_counts(size, root):
    note = sign_checkpoint(make(size, root), KEY).encode()
    for at in range(len(note)):
        for bit in (1, 0x20):
            changed = note[:at] + bytes([note[at] ^ bit]) + note[at + 1 :]
            with pytest.raises((OpaqueJobsError, UnicodeDecodeError)):
                verify(changed.decode())


@given(at=st.integers(0, 200), cut=st.integers(1, 200))
def test_checkpoint_with_a_part_missing_is_refused(at, cut):
    note = sign_checkpoint(make(), KEY)
    shorter = note[:at] + note[at + cut :]
    if shorter != note:
        with pytest.raises(OpaqueJobsError):
            verify(shorter)


def test_checkpoint_of_another_log_or_key_is_refused():
    note = sign_checkpoint(make(), KEY)
    with pytest.raises(TrustError, match="another log"):
        verify(note, workspace_id="ws-2")
    with pytest.raises(TrustError, match="not signed"):
        verify(note, key=OTHER)
    with pytest.raises(TrustError, match="not signed"):
        verify(note.partition("\n\n")[0] + "\n\n" + "\n")


def test_checkpoint_may_carry_signatures_of_others_beside_the_logs():
    note = sign_checkpoint(make(), KEY)
    witness = sign_checkpoint(make(), OTHER).partition("\n\n")[2]
    text, _, own = note.partition("\n\n")
    assert verify(f"{text}\n\n{witness}{own}") == make() == verify(f"{note}{witness}")


def test_signature_under_another_name_is_none_of_the_logs_and_of_any_form():
    text, _, own = sign_checkpoint(make(), KEY).partition("\n\n")
    renamed = f"\u2014 other {own.split(' ')[2]}"
    with pytest.raises(TrustError, match="not signed"):
        verify(f"{text}\n\n{renamed}")
    assert verify(f"{text}\n\n{renamed}no signature\n{own}") == make()


def test_signature_under_the_logs_name_and_key_hash_by_another_key_is_refused():
    text, _, own = sign_checkpoint(make(), KEY).partition("\n\n")
    forged = base64.b64decode(own.split(" ")[2])[:4] + OTHER.sign(make().body.encode())
    with pytest.raises(TrustError):
        verify(f"{text}\n\n\u2014 {log_origin('ws-1')} {base64.b64encode(forged).decode()}\n")


@pytest.mark.parametrize("size", ["07", "+7", "-7", " 7", "7.0", "7e0", "\u0667", "", "9" * 16])
def test_size_in_another_form_is_refused_though_it_is_signed(size):
    body = make().body.replace("\n7\n", f"\n{size}\n")
    own = sign_checkpoint(make(), KEY).partition("\n\n")[2]
    head = base64.b64decode(own.split(" ")[2])[:4]
    signature = base64.b64encode(head + KEY.sign(body.encode())).decode()
    with pytest.raises(InvalidInputError):
        verify(f"{body}\n\u2014 {log_origin('ws-1')} {signature}\n")


@pytest.mark.parametrize("root", ["", "AAAA", base64.b64encode(b"\3" * 33).decode(), "A" * 42 + "B=", "\u0410" + "A" * 42 + "="])
def test_root_in_another_form_is_refused_though_it_is_signed(root):
    body = make().body.replace(base64.b64encode(b"\3" * 32).decode(), root)
    own = sign_checkpoint(make(), KEY).partition("\n\n")[2]
    signature = base64.b64encode(base64.b64decode(own.split(" ")[2])[:4] + KEY.sign(body.encode())).decode()
    with pytest.raises(InvalidInputError):
        verify(f"{body}\n\u2014 {log_origin('ws-1')} {signature}\n")


def test_endless_note_is_not_read():
    with pytest.raises(InvalidInputError):
        verify(sign_checkpoint(make(), KEY) + "\u2014 other AAAA\n" * 400)


def test_verifier_key_has_the_form_of_signed_notes():
    name, short, key = verifier_key("ws-1", KEY.public).split("+", 2)
    assert (name, len(short)) == (log_origin("ws-1"), 8)
    assert base64.b64decode(key) == b"\1" + KEY.public.raw
