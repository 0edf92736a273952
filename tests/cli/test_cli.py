#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command line against a daemon that answers from a table: what is asked, what is printed, how it ends."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TWINSTEP = pathlib.Path(os.environ.get("TWINSTEP_BUILD_DIR") or ROOT / "build/release") / "userspace/cli/twinstep"

VM = {
    "id": 7, "name": "web", "role": "primary", "state": "protected", "generation": 2, "owner": "a", "secondary": "b",
    "epoch": 12, "checkpoints": 11, "checkpoints_by_cause": {"initial": 1, "epoch_limit": 10}, "hold_ns": 100000000,
    "pause_ns_p50": 5400000, "pause_ns_max": 32100000, "pages_sent": 66000, "bytes_sent": 270336000, "pid": 4711,
    "nics": ["52:54:00:77:00:10", "52:54:00:77:00:11"],
}
DB = {"id": 9, "name": "db", "role": "none", "state": "absent", "epoch": 0, "last_reason": "never started"}
CHECKPOINT = {
    "epoch": 12, "vm": "web", "cause": "epoch_limit", "pause_ns": 5400000,
    "steps": {"stop_ns": 800000, "save_ns": 2100000, "scan_ns": 600, "copy_ns": 0, "cont_ns": 900000},
    "pages_dirty": 600, "pages_sent": 590, "bytes_sent": 2416640, "commit_ns": 12000000,
}
FLOW = {
    "vm": "web", "nic": 1, "vm_addr": "10.0.0.9", "vm_port": 80, "peer_addr": "10.0.0.1", "peer_port": 40000, "state": "agreeing",
    "bytes_matched": 123456, "frames_held": 3, "seq_delta": 0, "ts_delta": 4294967295,
}
NIC = {
    "vm": "web", "nic": 1, "mac": "52:54:00:77:00:11", "frames_in": 5, "xdp": {"tap_held": 5}, "guest_offloads": "on",
    "uplink": "eth0", "uplink_mode": "generic", "uplink_sockets": "copy", "uplink_queues": 2, "uplink_mtu": 1500,
    "uplink_other_programs": ["xdp_pass (id 12)", "xdp_filter (id 13)"],
    "tap": "tap0", "tap_mode": "generic", "tap_sockets": "copy", "tap_mtu": 1504,
    "link": "eth1", "link_mode": "native", "link_sockets": "zero-copy", "link_queues": 1, "link_mtu": 1600,
}

GOLDEN_VM = """\
7: web  state protected  role primary  nics 52:54:00:77:00:10, 52:54:00:77:00:11
\towner a  secondary b  generation 2  epoch 12
\tcheckpoints 11  checkpoints_by_cause  epoch_limit 10  initial 1
\tpause_p50 5.4ms  pause_max 32.1ms  hold 100ms
\tpages_sent 66000  bytes_sent 257.8MiB  pid 4711
"""
GOLDEN_DB = """\
9: db  state absent  role none
\tepoch 0
\tlast_reason never started
"""
GOLDEN_CHECKPOINT = """\
12: web  cause epoch_limit  pause 5.4ms
\tpages_dirty 600  pages_sent 590  bytes_sent 2.305MiB
\tcommit 12ms
\tsteps  cont 900us  copy 0  save 2.1ms  scan 600ns  stop 800us
"""
GOLDEN_FLOW = """\
web  nic 1  vm_addr 10.0.0.9  vm_port 80  peer_addr 10.0.0.1  peer_port 40000  state agreeing
\tbytes_matched 120.6KiB  frames_held 3  seq_delta 0  ts_delta 4294967295
"""
GOLDEN_NIC = """\
web  nic 1  mac 52:54:00:77:00:11
\tuplink eth0  uplink_mode generic  uplink_sockets copy  uplink_queues 2  uplink_mtu 1500  \
uplink_other_programs xdp_pass (id 12), xdp_filter (id 13)
\ttap tap0  tap_mode generic  tap_sockets copy  tap_mtu 1504  guest_offloads on
\tlink eth1  link_mode native  link_sockets zero-copy  link_queues 1  link_mtu 1600
\tframes_in 5
\txdp  tap_held 5
"""


class Daemon:
    """Speaks the control protocol and remembers what was asked."""

    def __init__(self, directory):
        self.path = str(pathlib.Path(directory) / "control.sock")
        self.requests = []
        self.replies = {}  # (object, command) -> reply
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rw") as lines:
                for line in lines:
                    request = json.loads(line)
                    self.requests.append(request)
                    reply = self.replies.get((request["object"], request["command"]), {"error": "unexpected"})
                    lines.write((reply if isinstance(reply, str) else json.dumps(reply, sort_keys=True)) + "\n")
                    lines.flush()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class CommandLine(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self._directory = tempfile.TemporaryDirectory(prefix="ts-cli-")
        self.daemon = Daemon(self._directory.name)
        self.daemon.replies = {
            ("vm", "show"): {"result": [VM, DB]},
            ("checkpoint", "show"): {"result": [CHECKPOINT]},
            ("flow", "show"): {"result": [FLOW]},
            ("nic", "show"): {"result": [NIC]},
            ("vm", "protect"): {"result": {}},
            ("vm", "mode"): {"result": None},
            ("vm", "failover"): {"error": "web is not protected"},
            ("version", "show"): {"result": {"version": "9.9.9"}},
        }

    def tearDown(self):
        self.daemon.close()
        self._directory.cleanup()

    def run_twinstep(self, *words, stdin=""):
        return subprocess.run([TWINSTEP, "--socket", self.daemon.path, *words], input=stdin, capture_output=True,
                              text=True, timeout=20, check=False)

    def stdout(self, *words, **options):
        done = self.run_twinstep(*words, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""), words)
        return done.stdout

    def error(self, *words, **options):
        done = self.run_twinstep(*words, **options)
        self.assertEqual((done.returncode, done.stdout), (255, ""), words)
        self.assertTrue(done.stderr.startswith("Error: "), done.stderr)
        return done.stderr

    def batch(self, text, *options):
        path = pathlib.Path(self._directory.name) / "batch"
        path.write_text(text)
        return self.run_twinstep(*options, "batch", "file", str(path))

    def test_plain(self):
        for words, golden in ((("vm", "show"), GOLDEN_VM + GOLDEN_DB), (("checkpoint",), GOLDEN_CHECKPOINT),
                              (("flow", "list"), GOLDEN_FLOW), (("nic",), GOLDEN_NIC)):
            with self.subTest(words=words):
                self.assertEqual(self.stdout(*words), golden)

    def test_plain_numeric_has_the_keys_and_numbers_of_the_json(self):
        text = self.stdout("-n", "vm")
        self.assertIn("pause_ns_p50 5400000  pause_ns_max 32100000", text)
        self.assertIn("bytes_sent 270336000", text)

    def test_one_named_vm(self):
        self.daemon.replies[("vm", "show")] = {"result": VM}
        self.assertEqual(self.stdout("vm", "show", "name", "web"), GOLDEN_VM)
        self.assertEqual(self.daemon.requests, [{"object": "vm", "command": "show", "name": "web"}])
        self.assertEqual(json.loads(self.stdout("-j", "vm", "show", "name", "web")), VM)

    def test_an_empty_list_prints_nothing(self):
        self.daemon.replies[("flow", "show")] = {"result": []}
        self.assertEqual(self.stdout("flow"), "")
        self.assertEqual(self.stdout("-j", "flow"), "[]\n")

    def test_json_is_one_line_and_pretty_many(self):
        compact = self.stdout("-j", "vm")
        self.assertEqual(compact.count("\n"), 1)
        pretty = self.stdout("-p", "vm")
        self.assertGreater(pretty.count("\n"), 10)
        self.assertEqual(json.loads(compact), [VM, DB])
        self.assertEqual(json.loads(pretty), [VM, DB])

    def test_a_change_prints_nothing_or_null(self):
        self.assertEqual(self.stdout("vm", "protect", "name", "web"), "")
        self.assertEqual(self.stdout("-j", "vm", "protect", "name", "web"), "null\n")
        self.assertEqual(self.daemon.requests[-1], {"object": "vm", "command": "protect", "name": "web"})

    def test_a_mode_is_a_word_of_its_own(self):
        wanted = {"object": "vm", "command": "mode", "name": "web", "mode": "periodic"}
        self.assertEqual(self.stdout("-j", "vm", "mode", "name", "web", "periodic"), "null\n")
        self.assertEqual(self.daemon.requests[-1], wanted)
        self.assertEqual(self.stdout("vm", "mode", "per", "name", "web"), "")
        self.assertEqual(self.daemon.requests[-1], wanted)
        self.assertIn("which mode?", self.error("vm", "mode", "name", "web"))
        self.assertIn("one value too many", self.error("vm", "mode", "name", "web", "colo", "auto"))
        self.assertIn("unknown argument 'remus'", self.error("vm", "mode", "name", "web", "remus"))
        self.assertIn("which VM?", self.error("vm", "mode", "auto"))

    def test_what_the_daemon_refuses(self):
        self.assertEqual(self.error("vm", "failover", "name", "web"), "Error: web is not protected\n")
        done = self.run_twinstep("-j", "vm", "failover", "name", "web")
        self.assertEqual((done.returncode, done.stderr), (255, ""))
        self.assertEqual(json.loads(done.stdout), {"error": "web is not protected"})

    def test_unambiguous_prefixes(self):
        self.assertEqual(self.stdout("c", "sh"), GOLDEN_CHECKPOINT)
        self.assertEqual(self.stdout("vm", "l"), GOLDEN_VM + GOLDEN_DB)
        self.assertIn("ambiguous object 'v': use one of version, vm", self.error("v"))
        self.assertIn("unknown vm command 'explode'", self.error("vm", "explode"))
        self.assertIn("unknown object 'disk'", self.error("disk"))

    def test_arguments(self):
        self.assertIn("which VM? say: twinstep vm protect name NAME", self.error("vm", "protect"))
        self.assertIn("'name' needs a value", self.error("vm", "show", "name"))
        self.assertIn("unknown argument 'id'", self.error("vm", "show", "id", "7"))
        self.assertIn("given twice", self.error("vm", "show", "name", "a", "name", "b"))
        self.assertEqual(self.daemon.requests, [])

    def test_options(self):
        self.assertIn("unknown option '-x'", self.error("-x", "vm"))
        debug = self.run_twinstep("-d", "vm")
        self.assertEqual(debug.stdout, GOLDEN_VM + GOLDEN_DB)
        self.assertIn('> {"object":"vm","command":"show"}\n< {"result"', debug.stderr)

    def test_help_is_on_stderr(self):
        for words in (("help",), ("-h",), ()):
            done = self.run_twinstep(*words)
            self.assertEqual((done.returncode, done.stdout), (0, ""))
            self.assertIn("OBJECT  := { vm | checkpoint | flow | nic }", done.stderr)
        self.assertIn("vm protect name NAME", self.run_twinstep("vm", "help").stderr)

    def test_version_with_and_without_a_daemon(self):
        tool, daemon = self.stdout("version").splitlines()
        self.assertRegex(tool, r"^twinstep v\d+\.\d+\.\d+$")
        self.assertEqual(daemon, "twinstepd v9.9.9")
        self.assertEqual(json.loads(self.stdout("-jV"))["daemon"], "9.9.9")
        self.daemon.path += ".gone"
        self.assertEqual(self.stdout("-V").splitlines(), [tool])

    def test_no_daemon(self):
        self.daemon.path += ".gone"
        self.assertIn("no twinstepd serves", self.error("vm"))

    def test_a_daemon_that_is_not_understood(self):
        for reply in ("nonsense", "{}", "[]"):
            self.daemon.replies[("vm", "show")] = reply
            self.assertIn("not understood", self.error("vm"))

    def test_batch(self):
        done = self.batch("# all of it\nvm show\n\nflow  # and the flows\n")
        self.assertEqual((done.returncode, done.stdout), (0, GOLDEN_VM + GOLDEN_DB + GOLDEN_FLOW))
        done = self.batch("vm protect name web\nflow\n", "-j")
        self.assertEqual(json.loads(done.stdout), [
            {"command": ["vm", "protect", "name", "web"], "output": None}, {"command": ["flow"], "output": [FLOW]}])
        self.assertEqual(self.stdout("batch", "file", "-", stdin="flow\n"), GOLDEN_FLOW)

    def test_batch_ends_at_the_first_error_and_names_it(self):
        done = self.batch("flow\nvm failover name web\nvm protect name web\n")
        self.assertEqual(done.returncode, 255)
        self.assertIn("batch:2: web is not protected", done.stderr)
        self.assertNotIn({"object": "vm", "command": "protect", "name": "web"}, self.daemon.requests)
        self.assertIn("cannot hold another batch", self.batch("batch file x\n").stderr)
        self.assertIn("cannot read /nowhere", self.error("batch", "file", "/nowhere"))


if __name__ == "__main__":
    unittest.main()
