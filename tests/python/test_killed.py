# SPDX-License-Identifier: Apache-2.0
"""An engine that is killed at any moment: what its calls had returned from is in the trace."""
import mmap
import os
import random
import signal
import struct
import time
import unittest

from test_record import PATIENCE_S, ROOT, Recording, wait_for

BUILT = [os.path.join(os.environ.get("TEST_SRCDIR", ""), os.environ.get("TEST_WORKSPACE", ""),
                      "capture/libpagetape_capture.so"),
         os.path.join(ROOT, "bazel-bin/capture/libpagetape_capture.so")]
LIBRARY = next(path for path in BUILT if os.path.isfile(path))
ROUNDS, THREADS = 100, 2
CALLS = ("step", "attention", "launch_done")

# Threads that record without end, outside the interpreter's lock. Behind each call a cell in shared
# memory says how many of its kind have returned: with it go a step's number and a launch's layer.
ENGINE = """
import ctypes, mmap, sys, threading
from pagetape import _abi
from pagetape._structures import PtapeAt

with open(sys.argv[1], "r+b") as file:
    told = (ctypes.c_uint64 * (3 * int(sys.argv[2]))).from_buffer(mmap.mmap(file.fileno(), 0))
library = _abi.load()
native = _abi.NativeRecorder(library, "named by the collector")
for line in ('{"ev": "header", "format": 1, "engine": "one of the test\\'s own"}',
             '{"ev": "pool", "pool": "F", "pages": 8, "page_size": 16}',
             '{"ev": "backend", "backend": "t", "pool": "F"}',
             '{"ev": "alloc", "pool": "F", "req": "A", "pages": [3], "first": 0}'):
    native.write(line)
mode = native.name("decode")
address, number, recorder = ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p(native.handle)


def function(name, result, *arguments):
    found = library[name]  # An object of its own, which lets other threads of Python's run.
    found.restype, found.argtypes = result, [address, *arguments]
    return found


def engine(thread):
    at = PtapeAt(t=_abi.ABSENT, stream=thread + 1, rank=-1, src=0)
    place = ctypes.c_void_p(ctypes.addressof(at))
    launch = _abi.LayerLaunches(native, [(
        False, _abi.Rows(["A"], [7], pages=[[3]]), _abi.Bound("F", 8), dict(backend="t"))], 0)
    step = function("ptape_step", ctypes.c_int, address, number, ctypes.c_uint32, number)
    layer = function("ptape_layer", ctypes.c_int, address, ctypes.c_int32, number, address,
                     ctypes.c_size_t)
    last = function("ptape_last_launch", ctypes.c_uint64)
    done = function("ptape_launch_done", ctypes.c_int, address, ctypes.c_uint64)
    n = 0
    while True:
        n += 1
        wrong = step(recorder, place, n, mode, 1)
        told[3 * thread] = n
        wrong = layer(recorder, place, n, _abi.ABSENT, *launch.given) or wrong
        told[3 * thread + 1] = n
        wrong = done(recorder, place, last(recorder)) or wrong
        told[3 * thread + 2] = n
        if wrong:
            sys.exit(f"a call returned {wrong}")


for thread in range(int(sys.argv[2])):
    threading.Thread(target=engine, args=(thread,)).start()
"""


class Killed(Recording):
    def killed(self, delay_s):
        """The calls that had returned, of each thread and kind; the only trace."""
        told_at = os.path.join(self.folder, "told")
        with open(told_at, "wb") as file:
            file.write(bytes(8 * len(CALLS) * THREADS))
        with open(told_at, "rb") as file, \
                mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as shared:
            def told():
                return struct.unpack(f"={len(CALLS) * THREADS}Q", shared[:])

            collector = self.start(
                "python3", "-c", ENGINE, told_at, str(THREADS),
                # Room for all that is written while a busy machine lets the collector wait.
                options=["--ring-size", "64MiB", "--python", "none"])
            engine = self.engine_of(collector)
            wait_for(lambda: min(told()))
            time.sleep(delay_s)
            os.kill(engine, signal.SIGKILL)
            self.assertEqual(collector.wait(PATIENCE_S), 128 + 9)
            self.assertIn("its process was killed", collector.stderr.read())
            self.assertEqual(os.listdir(self.shared), [])
            return told(), self.only_trace()

    def test_what_its_calls_returned_from_is_in_the_trace(self):
        os.environ["PYTHONPATH"] = os.path.join(ROOT, "capture/python")
        self.addCleanup(os.environ.pop, "PYTHONPATH")
        os.environ["PAGETAPE_LIBRARY"] = LIBRARY
        self.addCleanup(os.environ.pop, "PAGETAPE_LIBRARY")
        generator = random.Random(1)
        cut, suspects = 0, 0
        for _ in range(ROUNDS):
            told, trace = self.killed(generator.random() * 0.02)
            events = self.events(trace)
            self.assertFalse({"gap", "dropped", "end"} & {event["ev"] for event in events})
            begun = []
            for thread in range(THREADS):
                own = [(i, e) for i, e in enumerate(events) if e.get("stream") == thread + 1]
                steps = [e["step"] for _, e in own if e["ev"] == "step"]
                launches = {i: e["layer"] for i, e in own if e["ev"] == "attention"}
                done = [launches[e["event"]] for _, e in own if e["ev"] == "launch_done"]
                for kind, (returned, numbers) in enumerate(zip(
                        told[len(CALLS) * thread:], (steps, [*launches.values()], done))):
                    # All of them, in their order, and of the call it was killed in, all or nothing.
                    self.assertEqual(numbers, list(range(1, len(numbers) + 1)), CALLS[kind])
                    self.assertIn(len(numbers) - returned, (0, 1), CALLS[kind])
                    cut += len(numbers) - returned
                begun += [i for i, layer in launches.items() if layer > len(done)]
            report = self.verified(trace)
            self.assertIsNone(report["damaged"])
            self.assertEqual(report["suspects"], {"total": len(begun), "events": sorted(begun)})
            suspects += len(begun)
            os.remove(trace)
        # It was killed between a call's effect and its return, and with launches begun.
        self.assertGreater(cut, 0)
        self.assertGreater(suspects, 0)


if __name__ == "__main__":
    unittest.main()
