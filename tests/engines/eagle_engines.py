# SPDX-License-Identifier: Apache-2.0
"""Live tests of SGLang's EAGLE, as run_engines.py has the other drives: the draft worker, its
multi-step backends and its graph runners are the releases', the attention kernels stand-ins (but
for triton's), CUDA graphs those of drives/sglang_graphs_on_cpu.py."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402
from gpu_engines import Seen  # noqa: E402
from guarded_engines import Guarded  # noqa: E402

RELEASES = ("defect", "fixed") if live.LONG else ("fixed",)
# Backend, tokens of a page, target, launches: two in each layer of a pass, but for a prompt by
# triton, which reads nothing of the pool. Before a tree with pages of several tokens is one copy;
# fa3 reads a tree in two parts.
CHAINS = (("trtllm_mha", 64, "", 114), ("triton", 64, "", 106), ("fa3", 64, "", 114),
          ("flashinfer", 64, "full", 90))
TREES = (("fa3", 64, "full", 138), ("triton", 64, "", 113), ("flashinfer", 64, "full", 97),
         ("flashinfer", 1, "full", 90))
GRAPHS = ((3, "fa3", 64, "full"), (1, "trtllm_mha", 64, ""), (1, "flashinfer", 64, "full"),
          (3, "flashinfer", 64, "full"), (1, "triton", 64, ""))


def one_or_all(runs):
    return runs if live.LONG else runs[:1]


class LiveEagle(Guarded):
    def recorded(self, topk, backend, page, target, release="fixed", guard="", fault="", **others):
        done, notes, report = self.run_guarded(
            guard, "record_sglang.sh", release, None, backend, fault,
            PAGETAPE_DRIVE="sglang_eagle.py", PAGETAPE_TOPK=str(topk), PAGETAPE_PAGE=str(page),
            PAGETAPE_TARGET=target, **others)
        self.events = live.events(os.path.join(self.folder, "guarded.ptape"))
        return done, notes, report

    def check_clean(self, done, notes, report, launches=None):
        self.assertEqual((done.returncode, notes, report["verdict"]), (0, [], "pass"), done.stderr)
        self.assertFalse({"gap", "dropped"} & {event["ev"] for event in self.events})
        if launches is not None:
            self.assertEqual(report["launches"], launches)

    def drafted(self):
        """The launches by which drafts read: requests of the lanes and tokens."""
        return [([row["req"] for row in event["rows"]], [row.get("len") for row in event["rows"]])
                for event in self.events if event["ev"] == "attention"
                and event["mode"] == "draft"]

    def test_chains_of_drafts(self):
        for *run, launches in one_or_all(CHAINS):
            for release in RELEASES:
                self.check_clean(*self.recorded(1, *run, release=release), launches)
                # Three steps, a token more in each; the first draft comes from the target's.
                for step, (requests, lengths) in enumerate(self.drafted()[:3]):
                    self.assertEqual((requests, lengths), (["A", "B"], [251 + step, 113 + step]))

    def test_trees_of_drafts(self):
        for backend, page, target, launches in one_or_all(TREES):
            for release in RELEASES:
                self.check_clean(*self.recorded(3, backend, page, target, release), launches)
                branches = [lane for lane in self.drafted() if len(lane[0]) == 6]
                self.assertEqual(len(branches), 7 * 3)
                self.assertEqual(branches[0][0], ["A"] * 3 + ["B"] * 3)
                if backend != "fa3":
                    self.assertEqual(branches[2][1], [253] * 3 + [115] * 3)

    def test_sliding_layers_that_verify_a_tree_by_fa3_are_left_out(self):
        if not live.LONG:
            self.skipTest("one more recording of a kind: PAGETAPE_LONG=1")
        done, notes, report = self.recorded(3, "fa3", 1, "")
        self.assertEqual((done.returncode, report["verdict"], len(notes)), (0, "pass", 1))
        verified = {event["layer"] for event in self.events
                    if event["ev"] == "attention" and event["mode"] == "verify"}
        self.assertEqual(verified, {2})

    def test_graphs_of_the_releases_runners_read_what_calls_read(self):
        """In the order of the engine's passes, with a padding lane, which the calls have not."""
        for topk, *run in one_or_all(GRAPHS):
            for release in RELEASES if (topk, *run) == GRAPHS[0] else ("fixed",):
                trace = os.path.join(self.folder, "guarded.ptape")
                done, notes, report = self.recorded(topk, *run, release=release)
                called = Seen(trace).launches
                done, notes, report = self.recorded(topk, *run, release=release, PAGETAPE_GRAPH="1")
                # It says so of the batches with which SGLang warms its graphs up.
                self.check_clean(done, [note for note in notes if "on the GPU alone" not in note],
                                 report)
                launched, padding = [], 0
                for *what, rows in Seen(trace).launches:
                    real = [row for row in rows if row[0] is not None]
                    padding += bool(real) and len(real) < len(rows)
                    if real:
                        launched.append((*what, real))
                self.assertEqual(launched, called)
                self.assertGreater(padding, 60)

    def test_a_row_that_names_another_requests_page(self):
        for topk, graph in ((3, "1"), (1, "")):
            report = self.recorded(topk, "fa3", 64, "full", fault="row", PAGETAPE_GRAPH=graph)[2]
            self.assertEqual(report["counts"], {"WRONG_OWNER": 3})  # Once in each step.
            self.assertEqual({(f["step"], f["req"], f["page"]) for f in report["findings"]},
                             {(3, "A", 5)})

    def test_a_padding_lane_that_writes_a_requests_page(self):
        report = self.recorded(3, "fa3", 64, "full", fault="padding", PAGETAPE_GRAPH="1")[2]
        self.assertEqual(report["counts"], {"PAD_LANE": 3})
        self.assertEqual({(f["step"], f["req"], f["page"]) for f in report["findings"]},
                         {(3, None, 1)})

    def test_an_id_outside_is_found_and_kept_from_the_kernel(self):
        done, notes, report = self.recorded(3, "fa3", 64, "full", guard="raise", fault="outside")
        where = "a read of request A, layer 0, column 1: id 16777216 is outside the bound pool of "
        self.assertIn(f"OutOfBounds: {where}61\n", done.stderr)
        self.assertEqual((len(notes), report["counts"]), (1, {"OOB_PAGE": 1}))

    def test_a_draft_with_sliding_layers_by_fa3_writes_where_others_drafts_are(self):
        """As 0.5.19 and 0.5.20 are: FlashAttentionBackend.init_forward_metadata translates the
        slots of all the steps, and KVWriteLoc cuts that to as many as a step has: the first."""
        for release in RELEASES:
            report = self.recorded(1, "fa3", 64, "", release, PAGETAPE_DRAFT="swa")[2]
            self.assertEqual(report["counts"], {"WRONG_OWNER": 21, "UNINIT_READ": 28})
            self.assertEqual({f["layer"] for f in report["findings"]}, {1})
            stores = [event["rows"] for event in self.events if event["ev"] == "store"
                      and event["layer"] == 1 and event["bound"]["pool"] == "swa1"]
            of_a_step = [rows for rows in stores if len(rows[0]["slots"]) == 1][:3]
            self.assertEqual(of_a_step, [[{"req": "A", "slots": [314]},
                                          {"req": "B", "slots": [315]}]] * 3)


class LiveFrozenDraft(Guarded):
    """The draft that reads the target's K and V, called and in the graphs of 0.5.20's own runners.
    Topk and tokens of a page."""
    RUNS = ((1, 64), (2, 1))

    def recorded(self, topk, page, graph, fault=""):
        done, _, report = self.run_guarded(
            "", "record_sglang.sh", "fixed", None, "triton", fault,
            PAGETAPE_DRIVE="sglang_frozen_graphs.py", PAGETAPE_TOPK=str(topk),
            PAGETAPE_PAGE=str(page), PAGETAPE_GRAPH=graph)
        self.assertEqual(done.returncode, 0, done.stderr)
        trace = os.path.join(self.folder, "guarded.ptape")
        self.events = live.events(trace)
        self.assertFalse({"gap", "dropped"} & {event["ev"] for event in self.events})
        return report, Seen(trace).launches

    def test_graphs_read_what_calls_read(self):
        for topk, page in self.RUNS:
            report, called = self.recorded(topk, page, "")
            self.assertEqual((report["verdict"], report["launches"]), ("pass", 160))
            report, launched = self.recorded(topk, page, "1")
            self.assertEqual(report["verdict"], "pass")
            of_requests = [(*what, [row for row in rows if row[0] is not None])
                           for *what, rows in launched]
            self.assertEqual([one for one in of_requests if one[-1]], called)
            drafts = [rows for *what, rows in called if "draft" in what]
            self.assertEqual([row[0] for row in drafts[0]], ["A"] * topk + ["B"] * topk)

    def test_ids_that_were_not_translated(self):
        """While the draft's own pool is bound: of each sliding layer the whole window, in a graph
        as where it is called, and told as what it is."""
        for topk, page in self.RUNS[-1:]:
            counts = {}
            for graph in ("", "1"):
                report, launches = self.recorded(topk, page, graph, "untranslated")
                counts[graph] = report["counts"]
                self.assertEqual({(f["layer"], f["pool"]) for f in report["findings"]},
                                 {(1, "swa0")})
                spaces = {what[3] for *what, rows in launches if "draft" in what and
                          any(row[0] for row in rows)}
                self.assertEqual(spaces, {"full0"})
            told = {event["space"] for event in self.events if event["ev"] == "table" and
                    event["buffer"].startswith("backend2.window_kv_indices.untranslated")}
            self.assertEqual((counts[""], told), ({"WRONG_SPACE": 40176}, {"full0"}))
            self.assertEqual(counts["1"], counts[""])


if __name__ == "__main__":
    unittest.main()
