"""Whole sets on disk, written by the tiny writer and read by the command line, right and wrong ones."""

import base64
import contextlib
import hashlib
import io
import json
import os
import random
import shutil
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import read_set
import tiny_writer
from base import Base, BaseHeader, encode_base
from nlset import SetDirectory, State, commitment, state_of_base, tag_of_digest
from notes import parse_verifier
from records import Profile, Row

SET, WORKSPACE, PEPPER_ID = "s1", "w1", "p1"
SEED, PEPPER = bytes(range(32)), bytes(range(100, 132))
POLICY = b"any bytes"
HEADER = BaseHeader(3, 3, 1, 1, 0, 10, 3, SET, WORKSPACE, PEPPER_ID)
PLAIN = Profile(0, 0, False, None, False, "gold", ("read", "write"))
LIVE = Profile(2, 1, True, 9, False, "", ())
OTHER = Profile(1, 0, False, None, False, "", ("admin",))


def tag_of(text):
    """The first T bits of a key text's tag."""
    digest = hashlib.sha256(text.encode()).digest()
    return int.from_bytes(tag_of_digest(SET, PEPPER, digest), "big") >> (136 - HEADER.tag_bits())


def by_tag(rows):
    return tuple(sorted(rows, key=lambda row: row.tag))


def base_of(header, profiles, rows):
    profiles = tuple(sorted(profiles, key=Profile.encode))
    return Base(header, profiles, by_tag(rows), encode_base(header, profiles, by_tag(rows)))


def first_epoch():
    """States of versions 1 to 8: additions, every kind of change, a replaced profile, nothing at all."""
    rows = [Row(tag_of(f"base-{n}"), n % 2, False, n % 2, 900 * n, n, 0) for n in range(40)]
    base = base_of(HEADER, [PLAIN, LIVE], rows)
    states = [state_of_base(base, commitment(bytes(32), base.files.root()))]

    def then(profiles=None, base_changes=None, added_changes=None, additions=()):
        last = states[-1]
        base_rows, added_rows = list(last.base_rows), list(last.added_rows)
        for changed, changes in ((base_rows, base_changes), (added_rows, added_changes)):
            for index, values in (changes or {}).items():
                changed[index] = replace(changed[index], **values)
        after = (profiles or last.profiles, tuple(base_rows), by_tag([*added_rows, *additions]))
        states.append(State(base, last.version + 1, None, *after))

    live = base.profiles.index(LIVE)
    then(additions=[Row(tag_of(f"added-{n}"), 0, n == 2, live, 1000 * (n % 2), n, 50 + n) for n in range(5)])
    then(base_changes={4: {"status": 3}, 7: {"status": 3}, 9: {"deadline": 0}, 11: {"status": 2, "subject": 77}})
    then()
    then(profiles=(*base.profiles, OTHER), base_changes={n: {"profile": 2} for n in range(20, 30)})
    replaced = tuple(replace(p, tier="silver", refused=True) if p.live else p for p in states[-1].profiles)
    then(profiles=replaced, added_changes={1: {"status": 3}, 3: {"deadline": 5, "profile": 2}})
    then(additions=[Row(tag_of("late"), 1, False, 2, 0, 0, 0)], base_changes={0: {"subject": 5}})
    then(base_changes={0: {"subject": 6}})
    return states


class SetTest(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)
        self.writer = tiny_writer.SetWriter(self.directory, SET, SEED)
        self.verifier = tiny_writer.verifier_key(self.writer.name, SEED)
        self.vkey = os.path.join(self.directory, "vkey")
        Path(self.vkey).write_text(self.verifier + "\n", encoding="ascii")
        self.states = first_epoch()
        self.writer.put_base(HEADER, self.states[0].base.files)
        self.commitments = self.writer.put_deltas(self.states)
        self.writer.put(f"files/policy-{hashlib.sha256(POLICY).hexdigest()}", POLICY)

    def head(self, base, base_commitment, version, version_commitment, keys, record=b""):
        check = tag_of_digest(SET, PEPPER, hashlib.sha256(b"nightlatch.pepper-check/1").digest())
        return {
            "set": SET,
            "workspace": WORKSPACE,
            "brand": "acme",
            "incarnation": base.header.incarnation,
            "epoch": base.header.epoch,
            "version": version,
            "commitment": version_commitment.hex(),
            "keys": keys,
            "base-version": base.header.version,
            "base-commitment": base_commitment.hex(),
            "base-root": base.files.root().hex(),
            "base-length": len(base.files.index),
            "base-parts": ",".join(str(len(part)) for part in base.files.parts) or "-",
            "rebase": hashlib.sha256(record).hexdigest() if record else "-",
            "rebase-length": len(record),
            "pepper": PEPPER_ID,
            "pepper-check": check.hex(),
            "accepts-foreign": "yes",
            "policy": hashlib.sha256(POLICY).hexdigest(),
            "policy-length": len(POLICY),
            "issued": 1,
            "valid-until": 2,
            "skew": 0,
            "open-until": "-",
            "trust": "-",
            "audit": "-",
        }

    def first_head(self, version):
        state = self.states[version - 1]
        keys = len(state.base_rows) + len(state.added_rows)
        return self.head(state.base, self.commitments[0], version, self.commitments[version - 1], keys)

    def second_epoch(self):
        """Rebases after version 8, writes version 10 of epoch 2 and gives its head."""
        last = self.states[-1]
        gone = {row.tag for row in last.rows() if row.status == 3}
        profiles = tuple(sorted(last.profiles, key=Profile.encode))
        rows = [
            replace(row, profile=profiles.index(last.profiles[row.profile])) for row in last.rows() if row.tag not in gone
        ]
        header = replace(HEADER, epoch=2, version=9, cutoff=1_600_000_000 - 30_000_000)
        base = base_of(header, profiles, rows)
        record = tiny_writer.rebase_record(last, base, gone, self.commitments[-1])
        self.writer.put_base(header, base.files)
        self.writer.put("files/rebase-3-2", record)
        base_commitment = commitment(self.commitments[-1], base.files.root())
        start = state_of_base(base, base_commitment)
        after = replace(start, version=10, base_rows=(replace(start.base_rows[0], status=2), *start.base_rows[1:]))
        commitments = self.writer.put_deltas([start, after])
        return self.head(base, base_commitment, 10, commitments[-1], len(rows), record)

    def run_reader(self, *arguments):
        """Exit code, standard output and standard error of the command line."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = read_set.main([self.directory, "--verifier", self.vkey, *arguments])
            except SystemExit as leaving:
                code = leaving.code
        return code, out.getvalue(), err.getvalue()

    def assert_refused(self, why, *arguments):
        code, out, err = self.run_reader(*arguments)
        self.assertEqual((code, out), (1, ""), err)
        self.assertRegex(err, why)

    def test_every_version_reads_by_every_level(self):
        for version in range(1, 9):
            self.writer.put_head(self.first_head(version))
            code, out, err = self.run_reader("--single-steps")
            self.assertEqual(code, 0, err)
            read = json.loads(out)
            self.assertEqual(read["version"], version)
            state = replace(self.states[version - 1], commitment=self.commitments[version - 1])
            self.assertEqual(read["rows"], [read_set.row_object(row, state) for row in state.rows()])
            self.assertEqual(read["keys"], len(read["rows"]))

    def test_a_key_is_looked_up(self):
        self.writer.put_head(self.first_head(8))
        pepper = f"{PEPPER_ID}:{base64.b64encode(PEPPER).decode()}"
        found = json.loads(self.run_reader("--pepper", pepper, "--key", "added-2")[1])["key"]["row"]
        self.assertEqual((found["foreign"], found["number"], found["profile"]["tier"]), (True, 52, "silver"))
        self.assertEqual(len(found["tag"]), 34)
        self.assertIsNone(json.loads(self.run_reader("--pepper", pepper, "--key", "never")[1])["key"]["row"])
        wrong = base64.b64encode(bytes(32)).decode()
        self.assert_refused("other bytes", "--pepper", f"{PEPPER_ID}:{wrong}")
        self.assert_refused("the set's is p1", "--pepper", f"p2:{wrong}")

    def test_wrong_usage(self):
        for arguments in (("--key", "x"), ("--from-epoch", "0"), ("--pepper", "p1:AA=="), ("--unknown",)):
            self.assertEqual(self.run_reader(*arguments)[0], 2)
        Path(self.vkey).write_text("nothing", encoding="ascii")
        self.assertEqual(self.run_reader()[0], 2)

    def test_the_next_base_follows_from_the_epoch_before(self):
        self.writer.put_head(self.second_epoch())
        code, out, err = self.run_reader("--from-epoch", "1", "--single-steps")
        self.assertEqual(code, 0, err)
        self.assertEqual(json.loads(out)["keys"], 46 - 3)
        self.assert_refused("head is of epoch 2", "--from-epoch", "2")

    def test_heads_that_say_something_else_are_refused(self):
        right = self.second_epoch()
        for name, value, why in (
            ("set", "s2", "of set s2"),
            ("workspace", "w2", "workspace"),
            ("version", 9, "two commitments"),
            ("version", 11, "No such file"),
            ("epoch", 1, "version 1 is the base"),
            ("commitment", "0" * 64, "another commitment"),
            ("keys", 42, "42 keys"),
            ("base-root", "0" * 64, "root"),
            ("base-commitment", "0" * 64, "does not lead"),
            ("base-length", 7, "bytes, and 7 are due"),
            ("base-parts", "-", "part 0"),
            ("base-parts", f"{right['base-parts']},1", "another number of parts"),
            ("rebase-length", 0, "go together"),
            ("accepts-foreign", "no", "foreign keys"),
            ("accepts-foreign", "maybe", "neither"),
            ("keys", "043", "one spelling"),
            ("policy-length", 3, "3 are due"),
            ("trust", "x", "trust"),
        ):
            self.writer.put_head({**right, name: value})
            self.assert_refused(why)
        self.writer.put_head(dict(reversed(right.items())))
        self.assert_refused("are due")

    def test_any_changed_byte_is_refused(self):
        self.writer.put_head(self.second_epoch())
        chance = random.Random(1)
        read = ["head", "files/base-3-2", "files/base-3-2-0", "files/rebase-3-2", "files/delta-3-2-9-10"]
        old = ["files/base-3-1", "files/base-3-1-0", "files/delta-3-1-1-5", "files/delta-3-1-5-7", "files/delta-3-1-7-8"]
        for name in [*read, *old, f"files/policy-{hashlib.sha256(POLICY).hexdigest()}"]:
            file = Path(self.directory, name)
            right = file.read_bytes()
            for _ in range(6):
                wrong = bytearray(right)
                wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
                file.write_bytes(wrong)
                self.assert_refused("read_set: ", "--from-epoch", "1")
            for wrong in (right[:-1], right + b"\0", b""):
                file.write_bytes(wrong)
                self.assert_refused("read_set: ", "--from-epoch", "1")
            file.write_bytes(right)
        self.assertEqual(self.run_reader("--from-epoch", "1")[0], 0)

    def test_a_record_that_removes_another_key_is_refused(self):
        head = self.second_epoch()
        directory = SetDirectory(self.directory, [parse_verifier(self.verifier)])
        self.writer.put_head(head)
        last = self.states[-1]
        base = directory.head_base(directory.head())
        active = next(row.tag for row in last.rows() if row.status == 0 and row.deadline == 0)
        gone = {row.tag for row in last.rows() if row.status == 3}
        record = tiny_writer.rebase_record(last, base, {*sorted(gone)[1:], active}, self.commitments[-1])
        self.writer.put("files/rebase-3-2", record)
        self.writer.put_head({**head, "rebase": hashlib.sha256(record).hexdigest(), "rebase-length": len(record)})
        self.assert_refused("removes a key that had not ended", "--from-epoch", "1")


if __name__ == "__main__":
    unittest.main()
