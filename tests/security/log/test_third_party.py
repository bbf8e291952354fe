"""What we give outsiders is enough: a script of a hundred lines with nothing of ours believes it, and nothing changed."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, sign_checkpoint
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.merkle import EMPTY, inclusion_path, leaf_hash
from opaque_jobs.crypto.service_keys import load_service_key
from opaque_jobs.domain.canonical import digest

SCRIPT = Path(__file__).with_name("third_party.py")
Lines = list[dict[str, Any]]


@pytest.fixture(scope="module")
def outside(tmp_path_factory) -> Path:
    """A folder far from the repository, with the script and nothing else."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copy(SCRIPT, folder / "check.py")
    return folder


@pytest.fixture(scope="module")
def log_key(history) -> str:
    return history.answers("log", "checkpoint", "Study")["log_key"]


@pytest.fixture(scope="module")
def exported(history, outside) -> Lines:
    file = outside / "log.jsonl"
    history.answers("log", "export", "Study", "--to", str(file))
    return [json.loads(line) for line in file.read_text().splitlines()]


def judge(outside: Path, text: str, key: str) -> subprocess.CompletedProcess[str]:
    file = outside / "given"
    file.write_text(text)
    call = [sys.executable, "-I", "check.py", str(file), key]
    return subprocess.run(call, cwd=outside, env={}, capture_output=True, text=True, check=False, timeout=60)


def as_lines(lines: Lines) -> str:
    return "".join(json.dumps(each) + "\n" for each in lines)


def test_script_is_short_and_uses_nothing_of_ours():
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 100
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported == {"base64", "hashlib", "json", "pathlib", "sys", "cryptography"}


def test_script_accepts_an_export(outside, exported, log_key):
    result = judge(outside, as_lines(exported), log_key)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{len(exported) - 1} of {len(exported) - 1} entries, 2 member lists")


def test_script_accepts_the_proof_of_one_entry(outside, history, log_key):
    proof = history.call("log", "prove", "Study", "7").stdout
    assert judge(outside, proof, log_key).returncode == 0
    other = json.loads(proof)
    other["entry"]["seq"] += 1
    assert judge(outside, json.dumps(other, indent=2), log_key).returncode == 1


def leaf(entry: dict[str, Any], **over: Any) -> str:
    changed = json.loads(base64.b64decode(entry["leaf"])) | over
    return base64.b64encode(json.dumps(changed, separators=(",", ":"), sort_keys=True).encode()).decode()


def flipped(text: str, at: int = 0) -> str:
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


def first_of(lines: Lines, kind: str) -> dict[str, Any]:
    return next(each for each in lines[1:] if json.loads(base64.b64decode(each["leaf"]))["kind"] == kind)


def change_an_entry(lines: Lines) -> None:
    lines[3]["leaf"] = leaf(lines[3], at="2026-01-01T00:00:00+00:00")


def change_what_an_entry_says_elsewhere(lines: Lines) -> None:
    lines[3]["seq"] = 3


def drop_an_entry(lines: Lines) -> None:
    del lines[4]


def drop_the_last_entry(lines: Lines) -> None:
    del lines[-1]


def repeat_the_last_entry(lines: Lines) -> None:
    lines.append(lines[-1])


def swap_two_entries(lines: Lines) -> None:
    lines[2], lines[3] = lines[3], lines[2]


def swap_two_entries_and_their_numbers(lines: Lines) -> None:
    swap_two_entries(lines)
    lines[2]["seq"], lines[3]["seq"] = 1, 2


def change_a_path(lines: Lines) -> None:
    lines[5]["path"][1] = flipped(lines[5]["path"][1])


def shorten_a_path(lines: Lines) -> None:
    lines[5]["path"].pop()


def lengthen_a_path(lines: Lines) -> None:
    lines[5]["path"].append("00" * 32)


def change_a_document(lines: Lines) -> None:
    vote = first_of(lines, "vote")
    vote["document"] = flipped(vote["document"], at=vote["document"].index('"payload"') + 12)


def drop_a_document(lines: Lines) -> None:
    first_of(lines, "release")["document"] = None


def add_a_document(lines: Lines) -> None:
    first_of(lines, "run")["document"] = "{}"


def swap_two_documents(lines: Lines) -> None:
    first, second = first_of(lines, "vote"), first_of(lines, "withdrawal")
    first["document"], second["document"] = second["document"], first["document"]


def change_the_size(lines: Lines) -> None:
    lines[0]["checkpoint"] = lines[0]["checkpoint"].replace(f"\n{len(lines) - 1}\n", f"\n{len(lines)}\n")


def change_the_signature(lines: Lines) -> None:
    note = lines[0]["checkpoint"]
    lines[0]["checkpoint"] = flipped(note, at=note.index("\n\n") + 100)


def drop_the_signature(lines: Lines) -> None:
    lines[0]["checkpoint"] = lines[0]["checkpoint"].partition("\n\n")[0] + "\n\n"


def sign_with_another_key(lines: Lines) -> None:
    size, root = lines[0]["checkpoint"].split("\n")[1:3]
    origin = log_origin(lines[0]["workspace_id"])
    note = Checkpoint(origin=origin, size=int(size), root=base64.b64decode(root))
    lines[0]["checkpoint"] = sign_checkpoint(note, SigningKey.generate())


def name_another_workspace(lines: Lines) -> None:
    lines[0]["workspace_id"] = "ws-other"


def name_another_genesis(lines: Lines) -> None:
    lines[0]["genesis"] = "sha256:" + "00" * 32


ATTACKS: list[Callable[[Lines], None]] = [
    change_an_entry,
    change_what_an_entry_says_elsewhere,
    drop_an_entry,
    drop_the_last_entry,
    repeat_the_last_entry,
    swap_two_entries,
    swap_two_entries_and_their_numbers,
    change_a_path,
    shorten_a_path,
    lengthen_a_path,
    change_a_document,
    drop_a_document,
    add_a_document,
    swap_two_documents,
    change_the_size,
    change_the_signature,
    drop_the_signature,
    sign_with_another_key,
    name_another_workspace,
    name_another_genesis,
]


@pytest.fixture(scope="module")
def verdicts(outside, history, exported, log_key) -> dict[str, str]:
    """What the script says of every changed export; one process for all, because starting one is what costs."""
    files = {}
    for name, make in MADE.items():
        lines = json.loads(json.dumps(exported))
        make(history, lines)
        files[name] = outside / f"{name}.jsonl"
        files[name].write_text(as_lines(lines))
    call = [sys.executable, "-I", "-c", ALL, log_key, *map(str, files.values())]
    said = subprocess.run(call, cwd=outside, env={}, capture_output=True, text=True, check=True, timeout=60)
    return dict(zip(files, json.loads(said.stdout), strict=True))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_script_refuses_an_export(verdicts, attack):
    assert verdicts[attack.__name__].startswith("refused: ")


def test_script_refuses_another_logs_export_and_checkpoint(outside, history, exported, log_key):
    file = outside / "other.jsonl"
    history.answers("log", "export", history.others_id, "--to", str(file))
    assert judge(outside, file.read_text(), log_key).returncode == 1
    lines = json.loads(json.dumps(exported))
    lines[0]["checkpoint"] = json.loads(file.read_text().splitlines()[0])["checkpoint"]
    assert judge(outside, as_lines(lines), log_key).returncode == 1


def keeper_signs_anew(history, lines: Lines) -> None:
    """Make tree, paths and checkpoint anew over what the lines say, as whoever holds the log's key can."""
    nodes: dict[tuple[int, int], bytes] = {}
    tree = EMPTY
    for each in lines[1:]:
        tree = tree.append(
            leaf_hash(base64.b64decode(each["leaf"])), lambda level, at, node: nodes.__setitem__((level, at), node)
        )
    for each in lines[1:]:
        path = inclusion_path(each["seq"], tree.size, lambda level, at: nodes[level, at])
        each["path"] = [one.hex() for one in path]
    checkpoint = Checkpoint(origin=log_origin(lines[0]["workspace_id"]), size=tree.size, root=tree.root)
    key = load_service_key(history.cast.services.context.settings.log_key_path)
    lines[0]["checkpoint"] = sign_checkpoint(checkpoint, key)


def forge(history, lines: Lines, kind: str) -> None:
    """Put a signature of nobody's into a document, and let the log's keeper make all the rest fit."""
    forged = first_of(lines, kind)
    envelope = json.loads(forged["document"])
    envelope["signatures"][0]["sig"] = base64.b64encode(b"\0" * 64).decode()
    forged["document"] = json.dumps(envelope)
    forged["leaf"] = leaf(forged, statement=digest(forged["document"].encode()))
    keeper_signs_anew(history, lines)


SIGNED = ("acceptance", "vote", "withdrawal", "sharing", "release")
MADE: dict[str, Callable[[Any, Lines], None]] = {
    **{attack.__name__: lambda _history, lines, attack=attack: attack(lines) for attack in ATTACKS},
    **{f"forged {kind}": lambda history, lines, kind=kind: forge(history, lines, kind) for kind in SIGNED},
    "signed anew": keeper_signs_anew,
}
ALL = """
import json, runpy, sys
def verdict(file):
    sys.argv[1:] = [file, key]
    try:
        runpy.run_path("check.py")
    except SystemExit as end:
        return str(end.code)
    return "accepted"
key, files = sys.argv[1], sys.argv[2:]
out, sys.stdout = sys.stdout, sys.stderr
out.write(json.dumps([verdict(file) for file in files]))
"""


@pytest.mark.parametrize("kind", SIGNED)
def test_script_refuses_what_nobody_signed_even_if_the_log_did(verdicts, kind):
    assert verdicts["signed anew"] == "accepted"
    assert verdicts[f"forged {kind}"].startswith("refused: ")
