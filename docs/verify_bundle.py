#!/usr/bin/env python3
"""Verify a pgwitness evidence bundle with Python's standard library and `cryptography` alone.

    python3 verify_bundle.py SESSION.pgwitness.zip [VERIFIER]

VERIFIER is a file with the log's public key, from somewhere that the bundle's maker does not control. Without
it the bundle's own key is used, which proves only that the bundle fits together. Exit code 0: sound;
1: broken; 2: usage.

What it checks, as docs/record-format.md specifies it:
  1. every file of the bundle is the one that bundle.json names;
  2. the checkpoint is signed (Ed25519, C2SP signed note) by the key;
  3. every entry is in the log that was signed (RFC 6962 audit path);
  4. the entries are one session's chain, without a hole, from its start to its end;
  5. every chunk is the one that its entry names (SHA-256);
  6. every chunk opens with the session's secret, and the frames beside it are those committed to (HMAC).
What it cannot check: that session.json, statements.jsonl and statements.html say what the frames say;
`pgwitness verify --bundle` can, and the result names them as not proven. Here each statement's text is looked
for in what the client sent, and the result says how many were found: those with a password, which is taken
out, and those that the driver wrote in pieces are not.
"""

import base64
import hashlib
import hmac
import json
import struct
import sys
import uuid
import zipfile

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Broken(Exception):
    """The text names what is broken."""


def sha256(data):
    return hashlib.sha256(data).digest()


def need(true, otherwise):
    if not true:
        raise Broken(otherwise)


def read_key(text):
    """A verifier key, ``name+hash+base64``: (name, id, public key)."""
    name, key_id, encoded = text.strip().splitlines()[0].split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    need(key[:1] == b"\x01" and len(key) == 33, "the verifier key is not an Ed25519 key")
    need(sha256(name.encode() + b"\n" + key)[:4].hex() == key_id, "the verifier key does not fit its hash")
    return name, bytes.fromhex(key_id), key[1:]


def read_checkpoint(note, key):
    """(size, root) of a checkpoint that the key signed."""
    name, key_id, public = key
    text, _, signatures = note.decode().rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        dash, signer, encoded = line.split(" ")
        signature = base64.b64decode(encoded, validate=True)
        if dash == "—" and signer == name and signature[:4] == key_id:
            Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], text.encode())
            break
    else:
        raise Broken(f"the checkpoint is not signed by {name}")
    origin, size, root = text.split("\n")[:3]
    need(origin == name, f"the checkpoint is of the log {origin}, and the key of {name}")
    return int(size), base64.b64decode(root, validate=True)


def in_tree(leaf, index, size, root, proof):
    """RFC 9162, section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    node, last, hashed = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            hashed = sha256(b"\x01" + sibling + hashed)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            hashed = sha256(b"\x01" + hashed + sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and hashed == root


READABLE = {"session.json", "statements.jsonl", "statements.html"}


def check_files(bundle, about):
    names = bundle.namelist()
    need(len(set(names)) == len(names), "two files of the bundle have one name")
    strangers = set(names) - set(about["files"]) - {"bundle.json"}
    need(not strangers, f"{sorted(strangers)} do not belong to the bundle")
    for name, expected in about["files"].items():
        need(name in names, f"{name} is missing")
        need(
            sha256(bundle.read(name)).hex() == expected,
            f"{name} is not the file that was put into the bundle",
        )


def check_chain(entries, session):
    """The chain without a hole. Whether the session has ended, and whether it was erased."""
    place, previous, sequence, ended, erased = 0, None, 0, False, False
    for index, data in entries:
        entry = json.loads(data)
        need(entry["v"] == 1, f"entry {index} is of a version that this script does not know")
        if entry["type"] == "event":
            erased = ended and entry["event"] == "session_erased"
            erased = erased and json.loads(entry["payload"])["session"] == session
            need(erased, f"entry {index} does not belong to the session")
            continue
        need(entry["session"] == session, f"entry {index} is of another session")
        need(not ended, f"entry {index} is behind the session's end")
        need(entry["n"] == place, f"entry {index} has place {entry['n']} of the chain instead of {place}")
        need(entry["previous"] == previous, f"entry {index} does not follow the one before")
        if entry["type"] in ("chunk", "gap"):
            first, last = entry["sequence"]
            need(first == sequence and last >= first, f"entry {index}: frames are missing or doubled")
            sequence = last + 1
        elif entry["type"] == "end":
            need(entry["sequence"] + 1 == sequence, f"entry {index}: frames before the end are missing")
            ended = True
        else:
            need(entry["type"] == "session" and place == 0, f"entry {index} is of an unknown type")
        place, previous = place + 1, sha256(b"\x00" + data).hex()
    need(place > 0, "there is no entry of the session")
    return ended, erased


def check_members(about, chunks, erased):
    """Nothing in the bundle that is not looked at but what this script says it cannot check."""
    known = {"checkpoint", "verifier", "README.txt", "secret.age"}
    known |= {f"entries/{number:06}" for number in range(len(about["entries"]))}
    if not erased:
        known |= {f"chunks/{entry['n']:06}" for entry in chunks}
    if about["secret"] is not None and not erased:
        known |= READABLE | {f"frames/{entry['n']:06}" for entry in chunks}
    strangers = sorted(set(about["files"]) - known)
    need(not strangers, f"nothing in the bundle proves what {', '.join(strangers)} say")


def check_chunk(bundle, entry, secret):
    """The chunk is the sealed one; its frames if the secret is there."""
    name = f"chunks/{entry['n']:06}"
    stored = bundle.read(name)
    need(sha256(stored).hex() == entry["stored"]["sha256"], f"{name} is not the chunk that was sealed")
    if secret is None:
        return None
    key = hmac.digest(secret, b"pgwitness/1 encryption", "sha256")
    salt = hmac.digest(secret, b"pgwitness/1 commitment", "sha256")
    header, nonce = stored[:44], stored[32:44]
    need(header[8:24] == uuid.UUID(entry["session"]).bytes, f"{name} is of another session")
    AESGCM(key).decrypt(nonce, stored[44:], header)
    frames = f"frames/{entry['n']:06}"
    plain = bundle.read(frames)
    need(
        hmac.digest(salt, plain, "sha256").hex() == entry["commitment"],
        f"{frames} is not what was committed to",
    )
    return plain


def client_bytes(plain):
    """What the client sent, of one chunk: frames of kind 2."""
    (count,) = struct.unpack_from("<I", plain)
    kinds = plain[28 : 28 + count]
    lengths = struct.unpack_from(f"<{count}I", plain, 28 + count)
    at = len(plain) - sum(lengths)
    for kind, length in zip(kinds, lengths, strict=True):
        if kind == 2:
            yield plain[at : at + length]
        at += length


def look_for_statements(bundle, sent):
    """How many statements there are, and how many texts of theirs the client sent literally."""
    if "statements.jsonl" not in bundle.namelist():
        return 0, 0
    statements = [json.loads(line) for line in bundle.read("statements.jsonl").splitlines()]
    return len(statements), sum(statement["sql"].encode() in sent for statement in statements)


def verify(path, verifier):
    with zipfile.ZipFile(path) as bundle:
        about = json.loads(bundle.read("bundle.json"))
        need(
            (about["format"], about["version"]) == ("pgwitness-bundle", 1),
            "it is of a format that this script does not know",
        )
        check_files(bundle, about)
        key = read_key(verifier if verifier is not None else bundle.read("verifier").decode())
        size, root = read_checkpoint(bundle.read("checkpoint"), key)
        entries = []
        for number, proven in enumerate(about["entries"]):
            data = bundle.read(f"entries/{number:06}")
            proof = [bytes.fromhex(hashed) for hashed in proven["proof"]]
            held = in_tree(sha256(b"\x00" + data), proven["index"], size, root, proof)
            need(held, f"entries/{number:06} is not in the log that was signed")
            entries.append((proven["index"], data))
        ended, erased = check_chain(entries, about["session"])
        secret = None if about["secret"] is None else bytes.fromhex(about["secret"])
        need(secret is None or len(secret) == 32, "bundle.json: the session's secret is none")
        chunks = [
            entry for entry in map(json.loads, (data for _, data in entries)) if entry["type"] == "chunk"
        ]
        check_members(about, chunks, erased)
        plain = [] if erased else [check_chunk(bundle, entry, secret) for entry in chunks]
        sent = b"".join(piece for one in plain if one is not None for piece in client_bytes(one))
        statements, found = look_for_statements(bundle, sent)
    whose = "given" if verifier is not None else "the bundle's own"
    until = "ended" if ended else "still open: more may follow"
    print(f"session     {about['session']}")
    print(f"log         {key[0]}, {size:,} entries; key: {whose}")
    print(f"entries     {len(entries)} in the log, one chain, {until}")
    print(f"chunks      {len(plain)} as sealed" + (" (erased since)" if erased else ""))
    if secret is not None:
        print(f"statements  {found} of {statements} texts are literally in what the client sent")
        print(f"not proven  {', '.join(sorted(READABLE & set(about['files'])))}")
    print("Sound.")


def main(arguments):
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        verifier = open(arguments[1]).read() if len(arguments) == 2 else None
        open(arguments[0], "rb").close()
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        verify(arguments[0], verifier)
    except Broken as error:
        print(f"BROKEN: {error}")
        return 1
    except InvalidSignature:
        print("BROKEN: the checkpoint's signature does not fit")
        return 1
    except InvalidTag:
        print("BROKEN: a chunk does not open with the session's secret")
        return 1
    except Exception as error:  # whatever is malformed is no evidence
        print(f"BROKEN: the bundle is malformed: {type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
