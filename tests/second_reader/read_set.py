#!/usr/bin/env python3
"""Reads the published files of a key set, verifies all of them and prints what they say as one JSON object.

    read_set.py DIRECTORY --verifier VKEY_FILE [--pepper ID:BASE64] [--key TEXT] [--from-epoch N] [--single-steps]

The object has `set`, `workspace`, `incarnation`, `epoch`, `version`, `commitment`, `keys` (how many), `rows` (ascending by
tag; a tag is its first T bits in hex, filled up with zeros to whole bytes; a deadline of 0 is none; a column that the set
has not is null) and, with --key, `key`: its whole tag and its row or null.

Exit codes: 0 all is well; 1 something that the format does not allow, named on standard error; 2 wrong usage.
"""

import argparse
import hashlib
import json
import os
import sys

from nlset import SetDirectory, check_pepper, tag_of_digest
from notes import decode_base64, parse_id, parse_verifier
from records import ENVIRONMENTS, KINDS, STATUSES
from refusal import Refused, require


def parse_arguments(arguments):
    """The command line, its pepper decoded; leaves with code 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0], allow_abbrev=False)
    parser.add_argument("directory", metavar="DIRECTORY")
    parser.add_argument("--verifier", metavar="VKEY_FILE", required=True, help="verifier keys, one a line")
    parser.add_argument("--pepper", metavar="ID:BASE64", help="the set's pepper, checked against the head")
    parser.add_argument("--key", metavar="TEXT", help="a key text to look up; needs --pepper")
    parser.add_argument("--from-epoch", metavar="N", type=int, help="build the base from this earlier epoch, too")
    parser.add_argument("--single-steps", action="store_true", help="go by deltas of level 0, too, to the same state")
    given = parser.parse_args(arguments)
    if given.key is not None and given.pepper is None:
        parser.error("--key needs --pepper")
    if given.from_epoch is not None and given.from_epoch < 1:
        parser.error("--from-epoch counts from 1")
    if given.pepper is not None:
        name, _, secret = given.pepper.partition(":")
        try:
            given.pepper = parse_id(name, "--pepper"), decode_base64(secret, "--pepper")
            require(len(given.pepper[1]) == 32, "--pepper: not 32 bytes")
        except Refused as refusal:
            parser.error(str(refusal))
    given.verifiers = read_verifiers(parser, given.verifier)
    return given


def read_verifiers(parser, file):
    """The verifier keys of a file, one a line."""
    try:
        with open(file, encoding="ascii") as opened:
            lines = opened.read().splitlines()
        require(lines, "no verifier key")
        return [parse_verifier(line) for line in lines]
    except (OSError, UnicodeDecodeError, Refused) as error:
        parser.error(f"{file}: {error}")


def tag_text(tag, bits):
    """The first T bits of a tag in hex, filled up to whole bytes."""
    length = -(-bits // 8)
    return (tag << 8 * length - bits).to_bytes(length, "big").hex()


def row_object(row, state):
    """A row as JSON has it, with its profile spelled out."""
    profile = state.profiles[row.profile]
    return {
        "tag": tag_text(row.tag, state.base.header.tag_bits()),
        "status": STATUSES[row.status],
        "foreign": row.foreign,
        "deadline": row.deadline,
        "subject": row.subject,
        "number": row.number,
        "profile": {
            "kind": KINDS[profile.kind],
            "environment": ENVIRONMENTS[profile.environment],
            "live": profile.live,
            "subject": profile.subject,
            "refused": profile.refused,
            "tier": profile.tier or None,
            "scopes": list(profile.scopes),
        },
    }


def read_set(given):
    """What is printed of a set."""
    directory = SetDirectory(given.directory, given.verifiers)
    head = directory.head()
    if given.pepper is not None:
        check_pepper(head, *given.pepper)
    directory.policy(head)
    base = directory.head_base(head)
    directory.head_rebase(head)
    state = directory.state(head, base)
    if given.single_steps:
        same = directory.state(head, base, single_steps=True).contents() == state.contents()
        require(same, "deltas: those of level 0 lead to another state than those of the path")
    if given.from_epoch is not None:
        require(given.from_epoch < head.epoch, f"--from-epoch {given.from_epoch}: the head is of epoch {head.epoch}")
        directory.check_rebases(head, base, given.from_epoch)
    result = {
        "set": head.set_id,
        "workspace": head.workspace,
        "incarnation": head.incarnation,
        "epoch": head.epoch,
        "version": head.version,
        "commitment": head.commitment.hex(),
        "keys": head.keys,
        "rows": [row_object(row, state) for row in state.rows()],
    }
    if given.key is not None:
        tag = tag_of_digest(head.set_id, given.pepper[1], hashlib.sha256(os.fsencode(given.key)).digest())
        row = state.find(tag)
        result["key"] = {"tag": tag.hex(), "row": None if row is None else row_object(row, state)}
    return result


def main(arguments):
    """Runs the command line; gives its exit code."""
    given = parse_arguments(arguments)
    try:
        result = read_set(given)
    except Refused as refusal:
        print(f"read_set: {refusal}", file=sys.stderr)
        return 1
    json.dump(result, sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
