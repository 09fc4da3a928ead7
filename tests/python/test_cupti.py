# SPDX-License-Identifier: Apache-2.0
"""CUDA's calls under `pagetape record`, of an engine whose driver and CUPTI are played
(tests/capture/mock_cuda.cc)."""
import glob
import json
import os
import subprocess
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def built(variable, path):
    """A file: named by the environment, of the test, or what was built last; None: not built."""
    places = [os.environ.get(variable, ""),
              os.path.join(os.environ.get("TEST_SRCDIR", ""),
                           os.environ.get("TEST_WORKSPACE", ""), path),
              os.path.join(ROOT, "bazel-bin", path)]
    return next((place for place in places if os.path.isfile(place)), None)


PAGETAPE = built("PAGETAPE", "pagetape")
CUPTI = built("PAGETAPE_CUPTI_SO", "capture/libpagetape_cupti.so")
CAPTURE = built("PAGETAPE_CAPTURE_SO", "capture/libpagetape_capture.so")
ENGINE = built("PAGETAPE_MOCK_CUDA", "tests/mock_cuda")


@unittest.skipUnless(CUPTI and ENGINE, "built without CUPTI's headers")
class Cupti(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.out = os.path.join(folder.name, "traces")

    def record(self, *calls, options=("--cupti", CUPTI), **variables):
        environment = {k: v for k, v in os.environ.items()
                       if k not in ("CUDA_INJECTION64_PATH", "PAGETAPE_CUPTI_LIBRARY")}
        done = subprocess.run(
            [PAGETAPE, "record", "-o", self.out, *options, "--", ENGINE, *calls],
            env={**environment, "PAGETAPE_LIBRARY": CAPTURE, **variables},
            text=True, check=False, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said, self.printed = done.stderr, done.stdout
        return done.returncode

    def events(self):
        """Of the only trace, each without its time and the header."""
        traces = glob.glob(os.path.join(self.out, "*.ptape"))
        self.assertEqual(len(traces), 1, self.said)
        return self.events_of(traces[0])

    @staticmethod
    def events_of(trace):
        done = subprocess.run([PAGETAPE, "export", trace], text=True, check=True,
                              stdout=subprocess.PIPE)
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return [{k: v for k, v in event.items() if k != "t"} for event in events
                if event["ev"] != "header"]

    def kinds(self):
        return [event["ev"] for event in self.events()]

    def test_launches_of_a_process_without_hooks(self):
        self.assertEqual(self.record("init", "launch"), 0, self.said)
        decode, prefill, end = self.events()
        self.assertEqual(decode, {"ev": "kernel", "name": "decode", "grid": [4, 2, 1],
                                  "block": [128, 1, 1], "correlation": 1, "stream": 2})
        self.assertEqual((prefill["name"], prefill["block"]), ("prefill", [32, 1, 1]))
        self.assertNotEqual(prefill["stream"], decode["stream"])
        self.assertEqual(end["ev"], "end")

    def test_a_benchmark_takes_it_off_and_puts_it_on_again(self):
        self.assertEqual(self.record("init", "level1", "launch", "level0", "launch", "level2",
                                     "launch", "level1", "level3"), 0, self.said)
        counts = [line.split() for line in self.printed.splitlines()]
        self.assertEqual([(one[1], one[2]) for one in counts],
                         [("1:", "set,"), ("0:", "set,"), ("2:", "set,"), ("1:", "set,"),
                          ("3:", "refused,")])
        self.assertEqual([one[3] != "0" for one in counts], [False, False, True, False, False])
        self.assertEqual(self.kinds(), ["kernel", "kernel", "end"])

    def test_a_graph_is_captured_made_and_launched(self):
        self.record("init", "graph")
        self.assertEqual(self.kinds(), ["graph_capture", "graph_launch", "graph_launch", "end"])
        self.assertEqual(self.events()[1]["graph"], "cuda_graph:1")

    def test_a_wait_orders_its_stream_behind_the_recorded_one(self):
        self.record("init", "order")
        recorded, waited, _ = self.events()
        self.assertEqual(waited["on"], recorded["stream"])
        self.assertNotEqual(waited["stream"], recorded["on"])

    def test_hooks_and_cuda_share_one_trace(self):
        self.assertEqual(self.record("hooks", "init", "launch", "copy", "graph", "error"), 0)
        self.assertEqual(self.kinds(), ["buffer", "kernel", "kernel", "refresh", "note", "note",
                                        "note", "cuda_error", "end"])
        self.assertEqual(self.events()[3]["buffer"], "block_tables")
        error = self.events()[7]
        self.assertEqual((error["code"], error["name"], error["sticky"]),
                         (700, "CUDA_ERROR_ILLEGAL_ADDRESS", True))

    def test_the_last_launch_of_a_process_that_dies_is_in_the_trace(self):
        self.assertEqual(self.record("init", "launch", "kill"), 128 + 6)
        self.assertEqual([e["name"] for e in self.events()], ["decode", "prefill"])

    def test_a_fork_after_cuda_was_initialised_leaves_the_parents_trace_whole(self):
        calls = ("init", "launch", "fork", "launch", "refused", "join", "launch")
        self.assertEqual(self.record("hooks", *calls), 0, self.said)
        self.assertEqual(self.kinds(), ["buffer"] + ["kernel"] * 4 + ["end"])

    def test_so_does_one_where_cuda_alone_is_recorded(self):
        calls = ("init", "launch", "fork", "launch", "refused", "join", "launch")
        self.assertEqual(self.record(*calls), 0, self.said)
        self.assertEqual(self.kinds(), ["kernel"] * 4 + ["end"])

    def test_a_child_with_hooks_of_its_own_has_a_trace_of_its_own(self):
        calls = ("init", "launch", "fork", "hooks", "refused", "join", "launch")
        self.assertEqual(self.record("hooks", *calls), 0, self.said)
        traces = [self.events_of(one) for one in glob.glob(os.path.join(self.out, "*.ptape"))]
        child, parent = sorted(traces, key=len)
        self.assertEqual([e["ev"] for e in parent], ["buffer"] + ["kernel"] * 4 + ["end"])
        self.assertEqual([e["ev"] for e in child], ["buffer", "cuda_error", "end"])
        self.assertEqual(child[1]["code"], 3)

    def without_cuda(self, why, **variables):
        self.assertEqual(self.record("hooks", "init", "launch", "error", **variables), 0)
        self.assertEqual(self.kinds(), ["buffer", "end"])
        self.assertEqual(self.said.count("CUDA's calls are not recorded"), 1, self.said)
        self.assertIn(why, self.said)

    def test_another_subscriber_leaves_the_hooks(self):
        self.without_cuda("a profiler holds CUPTI", MOCK_PROFILER="1")

    def test_a_sandbox_that_forbids_it_leaves_the_hooks(self):
        self.without_cuda("CUPTI_ERROR_INSUFFICIENT_PRIVILEGES", MOCK_SANDBOX="1")

    def test_a_missing_cupti_leaves_the_hooks(self):
        self.without_cuda("/nowhere/libcupti.so", PAGETAPE_CUPTI_LIBRARY="/nowhere/libcupti.so")

    def test_a_library_without_its_functions_leaves_the_hooks(self):
        self.without_cuda("lacks functions", PAGETAPE_CUPTI_LIBRARY=CAPTURE)

    def test_an_injection_of_the_users_is_left_alone(self):
        self.without_cuda("CUDA_INJECTION64_PATH is /nowhere.so already",
                          CUDA_INJECTION64_PATH="/nowhere.so", MOCK_NO_INJECTION="1")

    def test_cupti_can_be_declined(self):
        self.record("hooks", "init", "launch", options=("--cupti", "none"))
        self.assertEqual(self.kinds(), ["buffer", "end"])
        self.assertNotIn("CUDA", self.said)

    def test_a_named_library_that_is_not_there_is_an_error(self):
        self.assertEqual(self.record("init", options=("--cupti", "/nowhere.so")), 125)
        self.assertIn("/nowhere.so: No such file or directory", self.said)


if __name__ == "__main__":
    unittest.main()
