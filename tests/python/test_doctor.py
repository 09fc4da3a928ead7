# SPDX-License-Identifier: Apache-2.0
"""`pagetape doctor` on engines that are played by a folder with the modules that hooks watch."""
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest

from test_record import PAGETAPE

PLACE = "transformers/generation/continuous_batching/"
# Names and parameters that the hooks rely on, and nothing behind them.
ENGINE = {
    "transformers/__init__.py": "",
    "transformers/generation/__init__.py": "",
    PLACE + "__init__.py": "print('an engine may print what it likes')",
    PLACE + "cache.py": """
        class PagedAttentionCache:
            def update(self, key_states, value_states, layer_idx, read_index, write_index): pass
            def extend_read_and_write_indices(self, request_id, past_length, query_length,
                                              read_index, write_index): pass
            def mark_shareable_blocks_as_complete(self, state, num_complete_blocks): pass
            def search_prefix_match(self, request_id, prompt_ids): pass
            def copy_cache(self, list_source_blocks, list_forked_blocks): pass
        """,
    PLACE + "cache_manager.py": """
        class CacheAllocator:
            def allocate_blocks(self, n_blocks, request_id, block_manager): pass
            def free_blocks(self, request_id, block_manager): pass
            def fork_blocks(self, parent_request_id, children_request_ids, block_manager): pass
        class FullAttentionCacheAllocator(CacheAllocator): pass
        class SlidingAttentionCacheAllocator(CacheAllocator): pass
        class BlockManager:
            def has_enough_free_blocks(self, n_blocks): pass
        """,
    PLACE + "scheduler.py": """
        class Scheduler:
            def add_waiting_request(self, state): pass
            def finish_request(self, request_id): pass
            def clear_cancelled_requests(self): pass
            def pop_request_to_evict(self): pass
        """,
    PLACE + "input_outputs.py": """
        class ContinuousBatchingIOs:
            def prepare_batch_tensors(self): pass
            def retrieve_device_outputs(self): pass
            def prepare_batch_update(self): pass
        """,
    PLACE + "continuous_api.py": """
        class ContinuousBatchProcessor:
            def _generation_step(self): pass
        """,
    PLACE + "offloading_manager.py": """
        class OffloadingManager:
            def restore_scheduled_requests(self, requests_in_batch): pass
        """,
}


class Doctor(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        dist = os.path.join(os.path.dirname(PAGETAPE), "pagetape.tar.gz")
        if not os.path.isfile(dist):
            raise unittest.SkipTest("//:dist is not built")
        cls.unpacked = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.unpacked.cleanup)
        subprocess.run(["tar", "-C", cls.unpacked.name, "-xf", dist], check=True)
        cls.pagetape = os.path.join(cls.unpacked.name, "pagetape/pagetape")

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def engine(self, version, changes=()):
        for path, text in {**ENGINE, **dict(changes)}.items():
            full = os.path.join(self.folder, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if text is not None:
                with open(full, "w", encoding="utf-8") as f:
                    f.write(textwrap.dedent(text))
        name, _, number = version.partition(" ")
        info = os.path.join(self.folder, f"{name}-{number}.dist-info")
        os.makedirs(info)
        with open(os.path.join(info, "METADATA"), "w", encoding="utf-8") as f:
            f.write(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")

    def doctor(self, *options):
        # No engine of the machine's own, but for those of the folder.
        return subprocess.run([self.pagetape, "doctor", "--python", sys.executable, *options],
                              env={**os.environ, "PYTHONPATH": self.folder, "PYTHONNOUSERSITE": "1",
                                   "PAGETAPE_STRICT": "1"},
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              check=False)

    def report(self, *options):
        done = self.doctor("--format", "json", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def transformers(self):
        return next(e for e in self.report()["engines"] if e["engine"] == "transformers")

    def hook(self, engine, name):
        return next(h for h in engine["hooks"] if h["hook"] == name)

    def test_an_engine_that_fits(self):
        self.engine("transformers 5.12.1")
        engine = self.transformers()
        self.assertEqual(engine["version"], "5.12.1")
        self.assertEqual(engine["status"], "hooks fit", engine)
        self.assertIn("attention.bound", engine["records"])
        self.assertIn("OOB_PAGE", engine["rules"]["judged"])
        self.assertIn({"rule": "WINDOW_EVICTED", "needs": "evict"}, engine["rules"]["not_judged"])

    def test_an_unknown_release_is_said(self):
        self.engine("transformers 99.1")
        text = self.doctor().stdout
        self.assertIn("transformers 99.1: hooks fit, a release they were never run with "
                      "(5.12.1, 5.17.0 they were)", text)

    def test_a_missing_attribute_costs_that_hook_and_its_rules(self):
        self.engine("transformers 5.12.1",
                    {PLACE + "cache_manager.py": "class FullAttentionCacheAllocator: pass\n"})
        engine = self.transformers()
        self.assertEqual(engine["status"], "some hooks fit")
        hook = self.hook(engine, "allocators")
        self.assertEqual(hook["status"], "does not fit")
        self.assertIn("SlidingAttentionCacheAllocator", hook["why"])
        self.assertNotIn("alloc", engine["records"])
        self.assertIn({"rule": "FREED_PAGE", "needs": "alloc"}, engine["rules"]["not_judged"])

    def test_another_parameter_costs_that_hook(self):
        cache = ENGINE[PLACE + "cache.py"].replace("query_length", "length")
        self.engine("transformers 5.12.1", {PLACE + "cache.py": cache})
        hook = self.hook(self.transformers(), "cache")
        self.assertEqual(hook["status"], "does not fit")
        self.assertIn("query_length", hook["why"])

    def test_a_module_that_is_not_there_and_one_that_cannot_be_imported(self):
        self.engine("transformers 5.12.1", {PLACE + "scheduler.py": "import no_such_module\n",
                                            PLACE + "offloading_manager.py": None})
        engine = self.transformers()
        hook = self.hook(engine, "scheduler")
        self.assertEqual(hook["status"], "does not fit")
        self.assertIn("no_such_module", hook["why"])
        self.assertEqual(self.hook(engine, "offloading")["status"], "absent")

    def test_an_engine_that_ends_its_process_is_that_engines_matter(self):
        self.engine("transformers 5.12.1",
                    {PLACE + "cache.py": "import os\nos.abort()\n"})
        engine = self.transformers()
        self.assertEqual(engine["status"], "unknown")
        self.assertIn("ended the process", engine["why"])

    def test_an_engine_without_an_adapter_is_said(self):
        self.engine("vllm 0.1", {"vllm/__init__.py": ""})
        vllm = next(e for e in self.report()["engines"] if e["engine"] == "vllm")
        self.assertIn(vllm["status"], ("no adapter", "no hook fits"))
        self.assertEqual(vllm["version"], "0.1")

    def test_the_machine(self):
        rows = {row["what"]: row for row in self.report()["machine"]}
        self.assertTrue(rows["recorder"]["ok"], rows)
        self.assertTrue(rows["hooks"]["ok"], rows)
        self.assertIn("GPUs", rows)
        rows = {row["what"]: row
                for row in self.report("--shared-memory", "/nowhere")["machine"]}
        self.assertFalse(rows["shared memory"]["ok"])
        self.assertIn("/nowhere", rows["shared memory"]["detail"])

    def test_nothing_is_left_in_shared_memory(self):
        with tempfile.TemporaryDirectory() as shared:
            self.report("--shared-memory", shared)
            self.assertEqual(os.listdir(shared), [])

    def test_an_interpreter_that_is_none(self):
        done = subprocess.run([self.pagetape, "doctor", "--python", "/no/python"],
                              capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("/no/python", done.stderr)
        self.assertIn("shared memory:", done.stdout)


if __name__ == "__main__":
    unittest.main()
