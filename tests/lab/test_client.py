# SPDX-License-Identifier: Apache-2.0
"""The lab's client against servers that are wrong in one way each: what it counts is what happened."""

import json
import os
import pathlib
import subprocess
import sys
import unittest

from twinlab.client import longest_gap_ms
from twinlab.lab import Binaries, default_build_directory
from twinlab.namespaces import Namespace, Registry, remove_leftovers

SERVER = pathlib.Path(__file__).with_name("bad_server.py")


class ClientTest(unittest.TestCase):
    """Client and server share a namespace and its loopback."""

    def setUp(self):
        remove_leftovers()
        name = f"ts-{os.getpid()}-client-test"
        self.namespace = Namespace(name)
        self.registry = Registry(name, [self.namespace])
        self.registry.write()
        self.addCleanup(self.registry.remove)
        self.namespace.create()
        self.binary = Binaries(default_build_directory()).client

    def start_server(self, mode):
        server = self.namespace.start(sys.executable, SERVER, mode, stdout=subprocess.PIPE, text=True)
        self.addCleanup(server.stdout.close)
        self.assertEqual(server.stdout.readline(), "ready\n")

    def run_client(self, *arguments):
        return json.loads(self.namespace.run(self.binary, *arguments, "--host", "127.0.0.1"))

    def stream_from(self, mode):
        self.start_server(mode)
        return self.run_client("stream", "--seconds", 1, "--bytes-per-second", 3000001)

    def test_good_stream(self):
        report = self.stream_from("good")
        self.assertEqual((report["failure"], report["bytes"], report["bytes_wrong"]), ("none", 3000001, 0))
        self.assertEqual(report["connections_reset"], 0)

    def test_wrong_byte(self):
        report = self.stream_from("wrong_byte")
        self.assertEqual((report["failure"], report["bytes_wrong"]), ("wrong_bytes", 1))

    def test_excess_byte(self):
        report = self.stream_from("excess")
        self.assertEqual((report["failure"], report["bytes_wrong"]), ("wrong_bytes", 1))

    def test_reset(self):
        report = self.stream_from("reset")
        self.assertEqual((report["failure"], report["connections_reset"]), ("reset", 1))
        self.assertEqual(report["bytes"], 1500000)

    def test_reset_after_the_whole_body(self):
        report = self.stream_from("reset_after_body")
        self.assertEqual((report["failure"], report["connections_reset"]), ("reset", 1))

    def test_early_close(self):
        report = self.stream_from("short")
        self.assertEqual((report["failure"], report["bytes"]), ("closed_early", 1500000))

    def test_wrong_length(self):
        self.assertEqual(self.stream_from("wrong_length")["failure"], "bad_head")

    def test_stall_is_a_gap(self):
        report = self.stream_from("stall")
        self.assertEqual(report["failure"], "none")
        gap_ms = longest_gap_ms(report, report["start_ns"], report["end_ns"])
        self.assertGreater(gap_ms, 550)
        self.assertLess(gap_ms, 5000)
        self.assertEqual(longest_gap_ms(report, report["end_ns"] + 1, report["end_ns"] + 2), 0)

    def test_refused(self):
        report = self.run_client("stream", "--seconds", 1)
        self.assertEqual((report["failure"], report["bytes"]), ("refused", 0))

    def test_good_requests(self):
        self.start_server("good")
        report = self.run_client("requests", "--seconds", 1)
        self.assertEqual((report["requests"], report["requests_failed"]), (10, 0))

    def test_requests_count_resets_and_wrong_bytes(self):
        for mode, field in (("reset", "connections_reset"), ("wrong_byte", "bytes_wrong")):
            with self.subTest(mode):
                self.namespace.kill_all()
                self.start_server(mode)
                report = self.run_client("requests", "--seconds", 1)
                self.assertEqual((report["requests_failed"], report[field]), (10, 10))

    def test_requests_are_not_delayed_by_slow_ones(self):
        self.start_server("stall")
        report = self.run_client("requests", "--seconds", 2)
        self.assertEqual((report["requests"], report["requests_failed"]), (20, 0))
        self.assertGreater(report["latency_ms_p50"], 550)

    def test_ping(self):
        report = self.run_client("ping", "--seconds", 1)
        self.assertEqual((report["sent"], report["received"], report["wrong"]), (10, 10, 0))

    def test_udp_counts_lost_wrong_and_double_answers(self):
        self.start_server("good")
        report = self.run_client("udp", "--seconds", 1)
        self.assertEqual(report["sent"], 10)
        self.assertEqual((report["lost"], report["wrong"], report["duplicates"]), (4, 2, 2))


if __name__ == "__main__":
    unittest.main()
