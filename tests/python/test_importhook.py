# SPDX-License-Identifier: Apache-2.0
import gc
import importlib
import os
import pickle
import sys
import tempfile
import textwrap
import threading
import unittest
import weakref
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "capture" / "python"))

from pagetape.importhook import (  # noqa: E402
    NotHere, PostImportHooks, after, around, expect, expect_just, observe, shield, wrap)


class ImportHookTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        sys.path.insert(0, self.folder.name)
        self.addCleanup(sys.path.remove, self.folder.name)
        self.hooks = PostImportHooks()
        self.hooks.install()
        self.addCleanup(self.hooks.remove)
        self.addCleanup(os.environ.pop, "PAGETAPE_STRICT", None)
        self.clear_shield()
        self.addCleanup(self.clear_shield)

    @staticmethod
    def clear_shield():
        shield.__init__()

    def engine(self, name, source):
        Path(self.folder.name, name + ".py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        self.addCleanup(sys.modules.pop, name, None)

    def test_hook_runs_after_the_module_is_executed(self):
        self.engine("toy_engine_a", "class Pool:\n    size = 3\n")
        seen = []
        self.hooks.on("toy_engine_a", lambda module: seen.append(module.Pool.size))
        importlib.import_module("toy_engine_a")
        self.assertEqual(seen, [3])

    def test_hook_runs_at_once_on_a_module_that_is_there(self):
        self.engine("toy_engine_b", "x = 1\n")
        importlib.import_module("toy_engine_b")
        seen = []
        self.hooks.on("toy_engine_b", seen.append)
        self.assertEqual(len(seen), 1)

    def test_module_of_another_release_is_never_missed_and_never_listed(self):
        self.engine("toy_engine_c", "x = 1\n")
        self.hooks.on("toy_engine_c.moved", lambda module: None)
        importlib.import_module("toy_engine_c")
        self.assertEqual(self.hooks.skipped, [])

    def test_a_hook_whose_place_is_another_module_is_neither_applied_nor_skipped(self):
        self.engine("toy_engine_h", "x = 1\n")

        def elsewhere(module):
            raise NotHere

        self.hooks.on("toy_engine_h", elsewhere, gives=("alloc",))
        importlib.import_module("toy_engine_h")
        self.assertEqual((self.hooks.applied, self.hooks.skipped), ([], []))
        self.assertEqual(self.hooks.watched, [("toy_engine_h", "elsewhere", ("alloc",))])

    def test_hooks_that_do_not_fit_are_listed_one_by_one(self):
        self.engine("toy_engine_d", "class Pool:\n    pass\n")
        seen = []

        def absent_method(module):
            wrap(module.Pool, "alloc", lambda original: original)

        self.hooks.on("toy_engine_d", absent_method)
        self.hooks.on("toy_engine_d", seen.append)
        importlib.import_module("toy_engine_d")
        self.assertEqual(len(seen), 1)
        self.assertEqual([(s.module, s.hook) for s in self.hooks.skipped],
                         [("toy_engine_d", "absent_method")])
        self.assertIn("AttributeError", self.hooks.skipped[0].reason)

    def test_strict_mode_fails_the_import(self):
        os.environ["PAGETAPE_STRICT"] = "1"
        self.engine("toy_engine_e", "x = 1\n")
        self.hooks.on("toy_engine_e", lambda module: module.absent)
        with self.assertRaises(AttributeError):
            importlib.import_module("toy_engine_e")

    def test_an_absent_module_stays_absent(self):
        self.hooks.on("toy_engine_absent", lambda module: None)
        with self.assertRaises(ModuleNotFoundError):
            importlib.import_module("toy_engine_absent")

    def test_a_function_that_lost_a_parameter_is_listed_as_skipped(self):
        self.engine("toy_engine_p", "class Cache:\n    def update(self, key, index): pass\n")

        def fits(module):
            expect(module.Cache.update, "key", "index")

        def misfits(module):
            expect(module.Cache.update, "key", "read_index")

        self.hooks.on("toy_engine_p", fits)
        self.hooks.on("toy_engine_p", misfits)
        importlib.import_module("toy_engine_p")
        self.assertEqual([s.hook for s in self.hooks.skipped], ["misfits"])
        self.assertIn("Cache.update has no parameter read_index", self.hooks.skipped[0].reason)

    def test_a_function_with_other_parameters_or_another_order_is_listed_as_skipped(self):
        self.engine("toy_engine_q", "class Cache:\n    def update(self, key, index): pass\n")
        hooks = {"fits": ("key", "index"), "turned": ("index", "key"), "fewer": ("key",)}
        for name, parameters in hooks.items():
            def hook(module, parameters=parameters):
                expect_just(module.Cache.update, *parameters)

            hook.__name__ = name
            self.hooks.on("toy_engine_q", hook)
        importlib.import_module("toy_engine_q")
        self.assertEqual([s.hook for s in self.hooks.skipped], ["turned", "fewer"])
        self.assertIn("Cache.update has the parameters key, index", self.hooks.skipped[0].reason)

    def test_after_is_told_what_the_original_returned(self):
        class Pool:
            def take(self, n):
                return n + 1

        seen = []
        after(Pool, "take", lambda pool, result, n: seen.append((result, n)))
        self.assertEqual(Pool().take(2), 3)
        self.assertEqual(seen, [(3, 2)])

    def test_around_is_told_before_and_after(self):
        class Pool:
            held = 3

            def take(self, n):
                self.held -= n
                return "taken"

        seen = []
        around(Pool, "take", lambda pool, n: pool.held if n else None,
               lambda pool, result, held, n: seen.append((held, pool.held, result, n)))
        pool = Pool()
        self.assertEqual([pool.take(n=1), pool.take(0), pool.take(2)], ["taken"] * 3)
        self.assertEqual(seen, [(3, 2, "taken", 1), (2, 0, "taken", 2)])

    def test_around_that_fails_leaves_the_engine_what_it_would_have_got(self):
        def failing(*_args):
            raise AttributeError("of the hook")

        for before, then in ((failing, lambda *_: seen.append("then")), (lambda *_: 1, failing)):
            with self.subTest(before=before):
                self.clear_shield()

                class Pool:
                    def take(self, n):
                        if n < 0:
                            raise KeyError("the engine's own")
                        return n

                seen, told = [], []
                shield.tell(told.append)
                around(Pool, "take", before, then)
                self.assertEqual([Pool().take(1), Pool().take(2)], [1, 2])
                self.assertIn("Pool.take: AttributeError: of the hook", told[0])
                self.assertEqual(seen, [])
                with self.assertRaises(KeyError):
                    Pool().take(-1)

    def test_an_engines_error_goes_through_around(self):
        class Pool:
            def take(self):
                raise KeyError

        seen = []
        around(Pool, "take", lambda _pool: 1, lambda *_: seen.append("then"))
        with self.assertRaises(KeyError):
            Pool().take()
        self.assertEqual((seen, shield.stopped), ([], False))

    def test_wrapping_twice_records_once(self):
        class Pool:
            def alloc(self):
                return "page"

        calls = []

        def make(original):
            def alloc(self):
                calls.append(1)
                return original(self)

            return alloc

        wrap(Pool, "alloc", make)
        wrap(Pool, "alloc", make)
        self.assertEqual(Pool().alloc(), "page")
        self.assertEqual(calls, [1])

    def test_a_wrapped_function_pickles_by_the_name_it_had(self):
        # Engines hand functions to their worker processes.
        bare = textwrap.dedent
        before = pickle.dumps(bare)
        self.addCleanup(setattr, textwrap, "dedent", bare)
        for shielded in (True, False):
            textwrap.dedent = bare
            wrap(textwrap, "dedent", lambda original: lambda text: original(text),
                 shielded=shielded)
            self.assertIsNot(textwrap.dedent, bare)
            self.assertEqual(pickle.dumps(textwrap.dedent), before)

    def test_two_marks_wrap_once_each_whoever_is_outside(self):
        class Pool:
            def alloc(self):
                return []

        def make(name):
            def making(original):
                def alloc(self):
                    return [name, *original(self)]

                return alloc

            return making

        for _ in range(3):
            wrap(Pool, "alloc", make("guard"), "_pagetape_guard")
            wrap(Pool, "alloc", make("recorder"))
        self.assertEqual(Pool().alloc(), ["recorder", "guard"])

    def test_observe_names_arguments_however_they_are_passed(self):
        class Pool:
            def take(self, n, kind="page"):
                return n + 1

        seen = []
        observe(Pool, "take", lambda pool, result, **given: seen.append(
            (result, given)), "kind", "n")
        Pool().take(2)
        Pool().take(kind="slot", n=3)
        self.assertEqual(seen, [(3, {"kind": "page", "n": 2}), (4, {"kind": "slot", "n": 3})])
        with self.assertRaisesRegex(TypeError, "has no parameter pages"):
            observe(Pool, "take", print, "pages")

    def failing(self, when):
        """A class of an engine with a hook that fails before, or after, what it stands for."""
        class Pool:
            taken = 0

            def take(self, n):
                self.taken += 1
                if n < 0:
                    raise KeyError(n)
                return n + 1

            def give(self):
                return "given"

        def make(original):
            def take(pool, n):
                if when == "before":
                    raise when.missing
                result = original(pool, n)
                return result.missing

            return take

        wrap(Pool, "take", make)
        return Pool

    def test_a_failing_hook_leaves_the_engine_what_it_would_have_got(self):
        for when in ("before", "after"):
            with self.subTest(when):
                self.clear_shield()
                told, seen = [], []
                shield.tell(told.append)
                cls = self.failing(when)
                after(cls, "give", lambda pool, result: seen.append(result))
                pool = cls()
                self.assertEqual([pool.give(), pool.take(1), pool.take(2), pool.give()],
                                 ["given", 2, 3, "given"])
                self.assertEqual(pool.taken, 2, "the engine's own work was done once a call")
                self.assertEqual(seen, ["given"], "the other hooks stop, too")
                self.assertEqual(len(told), 1)
                self.assertIn("Pool.take: AttributeError", told[0])

    def test_a_failing_hook_behind_the_original_stops_all(self):
        cls = self.failing("after")
        after(cls, "give", lambda pool, result: result.missing)
        self.assertEqual(cls().give(), "given")
        self.assertTrue(shield.stopped)

    def test_the_engines_own_errors_reach_it(self):
        with self.assertRaises(KeyError):
            self.failing("after")().take(-1)
        self.assertFalse(shield.stopped)

    def test_what_an_error_of_the_engines_holds_is_let_go(self):
        class Activations:
            pass

        held = []

        class Model:
            def forward(self):
                activations = Activations()
                held.append(weakref.ref(activations))
                raise KeyError

        wrap(Model, "forward", lambda original: lambda model: original(model))
        gc.disable()
        self.addCleanup(gc.enable)
        try:
            Model().forward()
        except KeyError:
            pass
        self.assertIsNone(held[0]())

    def test_a_closed_standard_error_is_nothing_to_the_engine(self):
        class Closed:
            def write(self, _text):
                raise BrokenPipeError

        told = []
        shield.tell(told.append)
        self.addCleanup(setattr, sys, "stderr", sys.stderr)
        sys.stderr = Closed()
        self.assertEqual(self.failing("after")().take(1), 2)
        self.assertEqual(len(told), 1)

    def test_what_is_meant_for_the_engine_reaches_it(self):
        class Verdict(RuntimeError):
            for_the_engine = True

        class Pool:
            def take(self):
                return 1

        def make(original):
            def take(pool):
                raise Verdict

            return take

        wrap(Pool, "take", make)
        with self.assertRaises(Verdict):
            Pool().take()
        self.assertFalse(shield.stopped)

    def test_strict_lets_a_hook_of_wrap_raise(self):
        os.environ["PAGETAPE_STRICT"] = "1"
        with self.assertRaises(AttributeError):
            self.failing("after")().take(1)

    def test_calls_within_calls_and_other_threads_keep_their_results(self):
        class Tree:
            def sum(self, n):
                return n + (self.sum(n - 1) if n > 0 else 0)

        def make(original):
            def sum_(tree, n):
                result = original(tree, n)
                return result if n > 1 else result.missing

            return sum_

        wrap(Tree, "sum", make)
        results = []
        threads = [threading.Thread(target=lambda: results.append(Tree().sum(9)))
                   for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        self.assertEqual(results, [45] * 8)

    def test_strict_lets_a_failing_hook_raise(self):
        class Pool:
            def take(self):
                return 1

        os.environ["PAGETAPE_STRICT"] = "1"
        observe(Pool, "take", lambda pool, result: result.missing)
        with self.assertRaises(AttributeError):
            Pool().take()


if __name__ == "__main__":
    unittest.main()
