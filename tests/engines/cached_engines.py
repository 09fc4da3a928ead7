# SPDX-License-Identifier: Apache-2.0
"""SGLang's prefix caches, driven live: what they keep and give again is told, and judged without a
false finding; and one page that the allocator gets behind a cache's back is found."""
import os
import subprocess
import sys
import tempfile
import unittest
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402

# Cache, page size, release, fault.
RUNS = (("radix", 64, "fixed", ""), ("unified_swa", 64, "defect", ""), ("swa", 1, "fixed", ""),
        ("radix", 64, "fixed", "freed"))
if live.LONG:
    RUNS += (("swa", 64, "fixed", ""), ("unified_swa", 64, "fixed", ""), ("swa", 64, "defect", ""),
             ("radix", 1, "defect", ""), ("swa", 1, "fixed", "freed"))
# Of 0.5.20, in traces/golden/caches: drive, cache, page size, fault.
DRIVEN = (("prefix_cache", "radix", "64", ""), ("prefix_cache", "unified_swa", "64", ""),
          ("prefix_cache", "swa", "1", ""), ("prefix_cache", "radix", "64", "freed"),
          ("sessions", "radix", "64", ""), ("sessions", "radix", "1", ""),
          ("decode_server", "swa", "64", ""))
LAUNCHES = {("radix", 64): 320, ("swa", 64): 480, ("unified_swa", 64): 480, ("radix", 1): 306,
            ("swa", 1): 459}
JUDGED = ("OOB_PAGE", "WRONG_SPACE", "STALE_BINDING", "SHORT_TABLE", "PAD_LANE", "FREED_PAGE",
          "WRONG_OWNER", "ALIASED_WRITE", "UNINIT_READ", "FREELIST")


SCHEDULER = """
import importlib
import sys
from unittest import mock
import standins
from pagetape import sglang
from pagetape.importhook import PostImportHooks
from pagetape.recording import Nowhere, Recorder

hooks = PostImportHooks()
sglang.install(hooks, Recorder(Nowhere()))
hooks.install()
standins.install_absent("setproctitle", "uvicorn", "fastapi", "mori")
place = "sglang.srt.managers.scheduler"
importlib.import_module(place)
sys.modules["prometheus_client"] = mock.MagicMock()
for kind in ("mooncake", "nixl", "mori", "fake"):
    importlib.import_module(f"sglang.srt.disaggregation.{kind}.conn")
print(*(one.split(":")[1] for one in hooks.applied
        if "disaggregation" in one or one.split(":")[0] == place))
"""


def name_of(*driven):
    return "-".join(filter(None, driven))


def shipped(*driven):
    return os.path.join(live.GOLDEN, "caches", name_of(*driven) + ".ptape")


def histories(trace):
    """Of each page what became of it, in turn: who came to hold it at which column, who left it."""
    told = defaultdict(list)
    for event in live.events(trace):
        if event["ev"] in ("alloc", "share", "free"):
            first = event.get("first")
            for i, page in enumerate(event["pages"]):
                told[event["pool"], page].append(
                    (event["ev"], event["req"], None if first is None else first + i))
        elif event["ev"] == "evict":
            told[event["pool"], event["page"]].append(("evict", event["req"], event["logical"]))
        elif event["ev"] in ("map_set", "map_clear"):
            for one in event.get("pairs") or [[page, 0] for page in event["from"]]:
                told[event["map"], one[0]].append(("map", one[1]))
    return told


def record(folder, cache, page, release, fault, drive="sglang_prefix_cache.py", **environment):
    trace = os.path.join(folder, f"{cache}-{page}-{release}-{fault}.ptape")
    done = subprocess.run(
        ["bash", os.path.join(live.ROOT, "capture/python/record_sglang.sh"),
         os.environ["PAGETAPE_ENGINES"], release, trace, "", fault],
        env=dict(os.environ, PAGETAPE_LIBRARY=live.LIBRARY, PAGETAPE_STRICT="1",
                 PAGETAPE_DRIVE=drive, PAGETAPE_CACHE=cache,
                 PAGETAPE_PAGE=str(page), **environment),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=1500)
    if done.returncode:
        raise AssertionError(done.stdout)
    return trace


class CachedSglang(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        with ThreadPoolExecutor(2) as pool:
            cls.traces = dict(zip(RUNS, pool.map(lambda run: record(cls.folder.name, *run), RUNS)))

    def clean(self):
        return [run for run in RUNS if not run[3]]

    def test_no_finding_is_false(self):
        for run in self.clean():
            report = live.verify(self.traces[run])
            self.assertEqual((report["verdict"], report["counts"]), ("pass", {}), run)
            self.assertEqual(report["launches"], LAUNCHES[run[:2]], run)
            for rule in JUDGED:
                self.assertGreater(report["rules"][rule]["judged"], 0, (run, rule))

    def test_what_is_found_in_a_cache_is_shared(self):
        for run in self.clean():
            cache, page, *_ = run
            recorded = live.events(self.traces[run])
            self.assertFalse({"gap", "note"} & {e["ev"] for e in recorded}, run)
            self.assertFalse([e for e in recorded if e.get("req") == "#unresolved"], run)
            units = 64 if page == 64 else 8
            found = {(e["req"], e["pool"]): e for e in recorded
                     if e["ev"] == "share" and e["req"] != "#cache"}
            full = "full0" if "swa" in cache else "pool0"
            # C finds the three units that A left, E those of B, as its row's first ones.
            for request in "CE":
                self.assertEqual((len(found[request, full]["pages"]) * page // units,
                                  found[request, full]["first"]), (3, 0), run)
            kept = [e for e in recorded if e["ev"] == "share" and e["req"] == "#cache"]
            given_back = [e for e in recorded if e["ev"] == "free" and e["req"] == "#cache"]
            self.assertTrue(kept and given_back, run)

    def test_it_is_the_shipped_recording(self):
        for cache, page, release, fault in RUNS:
            driven = "prefix_cache", cache, str(page), fault
            if release == "fixed" and driven in DRIVEN:
                self.assertEqual(live.events(self.traces[cache, page, release, fault]),
                                 live.events(shipped(*driven)), driven)

    def test_windows_move_over_what_was_found(self):
        for run in self.clean():
            if run[0] == "swa":
                evicted = [e for e in live.events(self.traces[run]) if e["ev"] == "evict"]
                self.assertIn(("C", "swa0", 0), [(e["req"], e["pool"], e["logical"])
                                                 for e in evicted], run)

    def test_the_schedulers_hooks_fit(self):
        """Its module itself, that of a server for decoding alone, which it imports, and those of
        what such a server receives by; of a server's packages those that are not there are
        stand-ins."""
        for release in ("defect", "fixed"):
            done = subprocess.run(
                [os.path.join(os.environ["PAGETAPE_ENGINES"], "venv/bin/python"), "-W", "ignore",
                 "-c", SCHEDULER],
                env=dict(os.environ, TRITON_INTERPRET="1", PAGETAPE_STRICT="1",
                         PYTHONPATH=":".join([
                             os.path.join(live.ROOT, "capture/python"),
                             os.path.join(live.ROOT, "capture/python/drives"),
                             os.path.join(os.environ["PAGETAPE_ENGINES"], "sglang-" + release)])),
                stdout=subprocess.PIPE, text=True, check=True, timeout=1500)
            self.assertCountEqual(done.stdout.splitlines()[-1].split(), [
                "decode_server", "arrivals", "rank", "scheduler", *["receiver"] * 4], release)

    def test_a_retracted_request_finds_its_prompt_again(self):
        for run in self.clean():
            states = [e["state"] for e in live.events(self.traces[run])
                      if e["ev"] == "request" and e["req"] == "E"]
            self.assertEqual(states, ["arrive", "finish"] * 2, run)

    def test_a_page_given_back_while_the_cache_offers_it(self):
        for run in RUNS:
            if run[3] == "freed":
                report = live.verify(self.traces[run])
                first = report["findings"][0]
                self.assertEqual((first["rule"], first["req"]), ("FREED_PAGE", "E"), run)
                self.assertEqual(report["verdict"], "fail", run)


class AsOnAGpu(unittest.TestCase):
    """Told by compares, as on a GPU, what becomes of each page is what is told here."""

    def test_what_becomes_of_each_page(self):
        with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
            traces = dict(zip(DRIVEN, pool.map(lambda one: self.played(folder, *one), DRIVEN)))
            for driven, trace in traces.items():
                self.assertEqual(histories(trace), histories(shipped(*driven)), driven)
                report, due = live.verify(trace), live.verify(shipped(*driven))
                self.assertEqual(report["counts"], due["counts"], driven)
                self.assertEqual(report["launches"], due["launches"], driven)

    @staticmethod
    def played(folder, drive, cache, page, fault):
        folder = os.path.join(folder, name_of(drive, cache, page, fault))
        os.mkdir(folder)
        return record(folder, cache, page, "fixed", fault, "sglang_as_on_gpu.py",
                      PAGETAPE_PLAYED=f"sglang_{drive}.py")


class SessionsOfSglang(unittest.TestCase):
    """The next request of a streaming session goes on in the row and the pages of the last one."""

    def test_what_one_request_held_the_next_one_does(self):
        for page, release, launches in ((64, "fixed", 72), (1, "defect", 70)):
            with tempfile.TemporaryDirectory() as folder:
                trace = record(folder, "session", page, release, "", "sglang_sessions.py")
                report, recorded = live.verify(trace), live.events(trace)
            self.assertEqual((report["verdict"], report["counts"]), ("pass", {}), page)
            self.assertEqual(report["launches"], launches)
            self.assertFalse([e for e in recorded if e["ev"] in ("gap", "note")
                              or e.get("req") == "#unresolved"], page)
            changes = [(e["req"], e["state"]) for e in recorded if e["ev"] == "request"
                       and e["req"] in ("A", "B", "C")]
            self.assertEqual(changes, [("A", "arrive"), ("B", "arrive"), ("A", "finish"),
                                       ("C", "arrive"), ("B", "finish"), ("C", "finish")])
            for last, following in ("AB", "BC"):
                moved = [(e["ev"], e["req"], e["pages"]) for e in recorded
                         if e["ev"] == "free" and e["req"] == last
                         or e["ev"] == "share" and e["req"] == following]
                self.assertEqual([e[:2] for e in moved], [("share", following), ("free", last)])
                self.assertCountEqual(moved[0][2], moved[1][2])


class PrefilledElsewhere(unittest.TestCase):
    """A server that decodes what others prefilled, by its own queues; and what it keeps of a
    retracted request in the host's memory."""

    def recorded(self, cache="swa", page=64, release="fixed", fault=""):
        with tempfile.TemporaryDirectory() as folder:
            trace = record(folder, cache, page, release, fault, "sglang_decode_server.py")
            return live.verify(trace), live.events(trace)

    def test_what_comes_is_written(self):
        runs = [("swa", 64, "defect", 396), ("radix", 1, "fixed", 264)]
        if live.LONG:
            runs += [("swa", 64, "fixed", 396), ("swa", 1, "defect", 396),
                     ("radix", 64, "fixed", 264)]
        for cache, page, release, launches in runs:
            report, recorded = self.recorded(cache, page, release)
            self.assertEqual((report["verdict"], report["counts"]), ("pass", {}), cache)
            self.assertEqual(report["launches"], launches)
            self.assertGreater(report["rules"]["UNINIT_READ"]["judged"], 200)
            self.assertFalse([e for e in recorded if e["ev"] in ("gap", "note")
                              or e.get("req") == "#unresolved"], cache)
            # A's comes twice: from elsewhere, and back from the host's memory.
            filled = [e["req"] for e in recorded if e["ev"] == "fill" and e["pool"] != "swa0"]
            self.assertEqual(filled, ["A", "B", "C", "A", "D", "E"])
            [tokens] = {sum(e.get("slots", [page] * len(e["pages"]))) for e in recorded
                        if e["ev"] == "fill" and e["req"] == "E" and e["pool"] != "swa0"}
            self.assertEqual(tokens, 96 if page == 64 else 12)

    def test_one_decoded_before_it_came(self):
        report, _ = self.recorded(fault="early")
        self.assertEqual(set(report["counts"]), {"UNINIT_READ"})
        self.assertEqual({f["req"] for f in report["findings"]}, {"E"})

    def test_a_page_given_back_before_it_came(self):
        report, recorded = self.recorded(fault="freed")
        first = report["findings"][0]
        self.assertEqual((first["rule"], first["req"]), ("FREED_PAGE", "E"))
        self.assertEqual(recorded[first["event"]]["ev"], "fill")


if __name__ == "__main__":
    unittest.main()
