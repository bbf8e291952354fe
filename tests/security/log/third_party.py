"""Verifies FILE, from `opaque-jobs log export` or `log prove`, with nothing of that program. It believes KEY, from a member."""

import base64
import hashlib
import json
import pathlib
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def must(holds, what):
    if not holds:
        raise ValueError(what)


def named(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def raw(text):
    return base64.b64decode(text, validate=True)


def opened_note(note, key):
    """The size and root that a signed note (C2SP) names, if this key signed it."""
    text, signatures = note.split("\n\n")
    name, _, key_text = key.split("+", 2)
    must(text.split("\n")[0] == name and raw(key_text)[:1] == b"\1", "the checkpoint is of another log")
    short = hashlib.sha256(name.encode() + b"\n" + raw(key_text)).digest()[:4]
    signed = [raw(line.split(" ")[2]) for line in signatures.splitlines() if line.startswith(f"\u2014 {name} ")]
    ours = [each[4:] for each in signed if each[:4] == short]
    must(ours, "the checkpoint is not signed with this key")
    Ed25519PublicKey.from_public_bytes(raw(key_text)[1:]).verify(ours[0], text.encode() + b"\n")
    return int(text.split("\n")[1]), raw(text.split("\n")[2])


def root_from(leaf, index, size, path):
    """RFC 9162, 2.1.3.2."""
    last, node = size - 1, hashlib.sha256(b"\0" + leaf).digest()
    for other in map(bytes.fromhex, path):
        must(last > 0, "a path is too long")
        if index & 1 or index == last:
            node = hashlib.sha256(b"\1" + other + node).digest()
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + other).digest()
        index, last = index >> 1, last >> 1
    must(last == 0, "a path is too short")
    return node


def signer(document, keys):
    """The id of the key that signed a DSSE envelope."""
    envelope = json.loads(document)
    kind, payload, signature = envelope["payloadType"], raw(envelope["payload"]), envelope["signatures"][0]
    must(signature["keyid"] in keys, "somebody signed who is in no member list")
    signed = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    keys[signature["keyid"]].verify(raw(signature["sig"]), signed)
    return signature["keyid"], "sha256:" + json.loads(payload)["subject"][0]["digest"]["sha256"]


def keys_of(lists):
    texts = [each["public_key"] for one in lists for each in one["members"]]
    texts += [each["broker_signing_key"] for one in lists for each in one["organisations"]]
    return {named(raw(text)): Ed25519PublicKey.from_public_bytes(raw(text)) for text in texts}


def check(lines, key):
    head, entries = lines[0], [lines[0]["entry"]] if "entry" in lines[0] else lines[1:]
    size, root = opened_note(head["checkpoint"], key)
    must("entry" in head or [each["seq"] for each in entries] == list(range(size)), "entries are missing or too many")
    lists, accepted, later = {}, {}, []
    for each in entries:
        entry, document = json.loads(raw(each["leaf"])), each["document"]
        must(root_from(raw(each["leaf"]), each["seq"], size, each["path"]) == root, f"entry {each['seq']} is not in the tree")
        must((entry["workspace_id"], entry["seq"]) == (head["workspace_id"], each["seq"]), "an entry is of another place")
        must(entry["statement"] == (None if document is None else named(document.encode())), "a document is another")
        if entry["kind"] == "roster":
            lists[entry["statement"]] = json.loads(document)
        elif entry["kind"] == "acceptance" and "entry" not in head:
            who, which = signer(document, keys_of([lists[entry["facts"]["roster"]]]))
            accepted.setdefault(which, set()).add(who)
        elif entry["kind"] in ("vote", "withdrawal", "sharing", "release") and "entry" not in head:
            later.append(document)
    agreed = [one for name, one in lists.items() if {named(raw(m["public_key"])) for m in one["members"]} == accepted.get(name)]
    for document in later:
        signer(document, keys_of(agreed))
    must("entry" in head or head["genesis"] in [name for name in lists if lists[name] in agreed], "another workspace")
    return f"{len(entries)} of {size} entries, {len(agreed)} member lists, {len(later)} signatures"


try:
    text = pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")
    sys.stdout.write(check(list(map(json.loads, [text] if text.startswith("{\n") else text.splitlines())), sys.argv[2]) + "\n")
except (InvalidSignature, ValueError, KeyError, IndexError, TypeError) as problem:
    sys.exit(f"refused: {problem or type(problem).__name__}")
