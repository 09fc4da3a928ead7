# SPDX-License-Identifier: Apache-2.0
"""Live tests of SGLang's FlashAttentionBackend and FlashInferAttnBackend, as run_engines.py has the
other backends: the classes and what they plan are the releases', their kernels stand-ins."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import run_engines as live  # noqa: E402
from guarded_engines import Guarded  # noqa: E402

SPACES = {("full0", False), ("swa0", True)}  # Where the window is.


RELEASES = ("defect", "fixed") if live.LONG else ("fixed",)


class LiveFlash(Guarded):
    """FlashInfer's chunks by its lists alone, unless said otherwise."""

    def recorded(self, backend, fault="", release="fixed", guard="", **environment):
        done, notes, report = self.run_guarded(
            guard, "record_sglang.sh", release, None, backend, fault,
            PAGETAPE_DRIVE="sglang_fa3_flashinfer.py",
            **{"SGLANG_FLASHINFER_USE_PAGED": "1", **environment})
        return done, notes, report

    def recorded_events(self, kind):
        events = live.events(os.path.join(self.folder, "guarded.ptape"))
        return [event for event in events if event["ev"] == kind]

    def test_both_releases_are_clean(self):
        for backend, kernels in (
                ("fa3", {"flash_attn_with_kvcache"}),
                ("flashinfer", {"BatchDecodeWithPagedKVCacheWrapper.forward",
                                "BatchPrefillWithPagedKVCacheWrapper.forward"})):
            for release in RELEASES:
                done, notes, report = self.recorded(backend, release=release)
                self.assertEqual(
                    (done.returncode, notes, report["verdict"], report["launches"]),
                    (0, [], "pass", 192), done.stderr)
                launches = self.recorded_events("attention")
                self.assertEqual({e["kernel"] for e in launches}, kernels)
                self.assertEqual({(e["space"], "window" in e) for e in launches}, SPACES)
                self.assertEqual({e["mode"] for e in launches}, {"extend", "decode", "verify"})
                self.assertEqual({e.get("window", 129) for e in launches}, {129})

    def test_a_row_that_names_another_requests_page(self):
        for backend, entries in (("fa3", 1), ("flashinfer", 64)):  # A page, and its tokens.
            report = self.recorded(backend, "row")[2]
            self.assertEqual(report["counts"], {"WRONG_OWNER": entries}, backend)
            self.assertEqual({(f["layer"], f["req"]) for f in report["findings"]}, {(5, "A")})

    def test_an_id_outside_is_found_and_kept_from_the_kernel(self):
        where = "a read of request A, layer 5, column 1: id 16777216 is outside the bound pool of "
        done, notes, report = self.recorded("flashinfer", "outside", guard="raise")
        self.assertIn(f"OutOfBounds: {where}1344\n", done.stderr)
        self.assertEqual((len(notes), report["counts"]), (1, {"OOB_PAGE": 1}))
        # A page table is looked at where it is built; the plant comes behind that.
        done, notes, report = self.recorded("fa3", "outside", guard="raise")
        self.assertIn(f"OutOfBounds: {where}21\n", done.stderr)
        self.assertEqual((len(notes), report["counts"]), (1, {}))

    def test_a_guard_that_finds_nothing_changes_nothing(self):
        for backend in ("fa3", "flashinfer"):
            done, notes, report = self.recorded(backend, guard="clamp")
            self.assertEqual((done.returncode, notes, report["verdict"], report["launches"]),
                             (0, [], "pass", 192), done.stderr)

    def test_flashinfers_chunk_of_a_full_layer_reads_what_is_not_written(self):
        """As 0.5.19 and 0.5.20 are: beside the kernel that has a chunk's own K and V, the full
        layers' lists, unlike the sliding ones', have the chunk's tokens as well."""
        for release in RELEASES:
            report = self.recorded("flashinfer", release=release,
                                   SGLANG_FLASHINFER_USE_PAGED="0")[2]
            self.assertEqual(report["counts"], {"UNINIT_READ": 70})
            self.assertEqual({(f["layer"], f["req"]) for f in report["findings"]}, {(5, "B")})
            self.assertEqual([f["column"] for f in report["findings"]], list(range(119, 189)))

    def test_flashinfers_verification_of_a_tree_misses_the_window(self):
        """As 0.5.20 is: EagleVerifyInput is not told where a sliding layer's list begins, so that
        it has a request's first tokens in place of its last."""
        report = self.recorded("flashinfer", PAGETAPE_VERIFY="eagle")[2]
        self.assertEqual(set(report["counts"]), {"WRONG_SPACE", "UNINIT_READ"})
        launches = {event["layer"] for event in self.recorded_events("attention")}
        self.assertEqual({f["layer"] for f in report["findings"]}, launches - {5})

    def test_a_draft_that_reads_the_targets_pool(self):
        done, _, report = self.recorded("flashinfer", PAGETAPE_DRAFT="1")
        self.assertEqual((done.returncode, report["verdict"], report["launches"]),
                         (0, "pass", 272), done.stderr)
        report = self.recorded("flashinfer", "stale", PAGETAPE_DRAFT="1")[2]
        self.check_stale(report)

    def test_fa3_asks_the_drafts_own_pool(self):
        """As both releases are, whose workers take no draft by fa3."""
        for release in RELEASES:
            self.check_stale(self.recorded("fa3", release=release, PAGETAPE_DRAFT="1")[2])

    def check_stale(self, report):
        for rule in ("OOB_PAGE", "WRONG_SPACE", "STALE_BINDING"):
            self.assertIn(rule, report["counts"])
        self.assertEqual({f["backend"] for f in report["findings"]}, {"backend1"})
        outside = [f for f in report["findings"] if f["rule"] == "OOB_PAGE"]
        self.assertEqual(outside[0]["page"], outside[0]["bound"])


if __name__ == "__main__":
    unittest.main()
