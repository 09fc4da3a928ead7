# SPDX-License-Identifier: Apache-2.0
"""Runs adapters right after an engine's modules are imported.

Hooks are keyed on full module names: SGLang moved its allocators from one module to a package in
June 2026, so an adapter names the old and the new place and each fires where it exists. Patches
are put on classes and on the namespace that calls a function, never on aliases elsewhere.

A hook that does not fit the engine's version is skipped and listed in `skipped`; the engine goes
on untouched. One that fails while the engine runs stops all of them (`shield`), and the engine gets
what it would have got without. PAGETAPE_STRICT=1 raises instead.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import inspect
import os
import sys
import threading
from typing import Callable, Dict, Iterable, List, NamedTuple, Tuple


class Skipped(NamedTuple):
    module: str
    hook: str
    reason: str


class Watched(NamedTuple):
    module: str
    hook: str
    gives: Tuple[str, ...]  # Kinds of events, and fields of them, that it records; (): not said.


class NotHere(Exception):
    """Raised by a hook whose place this release has in another module: neither applied nor
    skipped."""


def strict() -> bool:
    return os.environ.get("PAGETAPE_STRICT", "") not in ("", "0")


class PostImportHooks(importlib.abc.MetaPathFinder):
    """A finder that finds nothing itself: it wraps the loaders of watched modules."""

    def __init__(self) -> None:
        self._hooks: Dict[str, List[Callable]] = {}
        self._finding: set = set()
        self.watched: List[Watched] = []
        self.applied: List[str] = []
        self.skipped: List[Skipped] = []

    def on(self, module: str, hook: Callable, gives: Iterable[str] = ()) -> None:
        """Calls hook(module object) once `module` is there; at once if it is already. `gives` is
        what the hook records, for `pagetape doctor`: kinds of events and fields such as
        "attention.bound"."""
        self._hooks.setdefault(module, []).append(hook)
        self.watched.append(Watched(module, _name_of(hook), tuple(gives)))
        if module in sys.modules:
            self._run(sys.modules[module], [hook])

    def install(self) -> None:
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, fullname, path=None, target=None):
        if fullname not in self._hooks or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        except (ImportError, ValueError):
            return None
        finally:
            self._finding.discard(fullname)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _HookedLoader(spec.loader, self)
        return spec

    def ran(self, module) -> None:
        self._run(module, self._hooks.get(module.__name__, []))

    def _run(self, module, hooks) -> None:
        for hook in hooks:
            name = _name_of(hook)
            try:
                hook(module)
                self.applied.append(f"{module.__name__}:{name}")
            except NotHere:
                pass
            except Exception as error:  # an engine must not fall over its recorder
                if strict():
                    raise
                reason = f"{type(error).__name__}: {error}"
                self.skipped.append(Skipped(module.__name__, name, reason))


def _name_of(hook: Callable) -> str:
    return getattr(hook, "__name__", repr(hook))


class _HookedLoader(importlib.abc.Loader):
    def __init__(self, loader, hooks: PostImportHooks) -> None:
        self._loader = loader
        self._hooks = hooks

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module) -> None:
        self._loader.exec_module(module)
        self._hooks.ran(module)

    def __getattr__(self, name):  # get_data, is_package, …: whatever the real loader has
        return getattr(self._loader, name)


class Shield:
    """Between hooks and a running engine. The first hook that fails, since what it met does not
    look as it was written for, stops all: what is recorded would be wrong from there on."""

    def __init__(self) -> None:
        self.stopped = False
        self._told: List[Callable[[str], None]] = []

    def tell(self, told: Callable[[str], None]) -> None:
        """told(why) when hooks stop: an adapter records that it sees no more."""
        self._told.append(told)

    def stop(self, name: str, error: Exception) -> None:
        """To be called where the error is handled: one that is meant for the engine goes on."""
        if strict() or getattr(error, "for_the_engine", False):
            raise error
        self.stopped = True
        text = f"pagetape: stopped at {name}: {type(error).__name__}: {error}"
        told, self._told = self._told, []
        for one in told:
            try:
                one(text)
            except Exception as again:  # pylint: disable=broad-except
                text += f"\npagetape: and could not record that: {again}"
        try:
            print(text, file=sys.stderr)
        except (OSError, ValueError):  # It is closed.
            pass


shield = Shield()  # Of the process: it has one engine.


class _Call:
    """What became of the original within one call of its replacement."""
    __slots__ = ("returned", "result", "raised")

    def __init__(self) -> None:
        self.returned, self.result, self.raised = False, None, None


def _shielded(name: str, original: Callable, make: Callable) -> Callable:
    """make(original), which gives the engine what the original gave where the hook fails."""
    here = threading.local()

    @functools.wraps(original)
    def followed(*args, **kwargs):
        call = here.calls[-1] if getattr(here, "calls", None) else _Call()
        try:
            call.result = original(*args, **kwargs)
        except BaseException as error:
            call.raised = error
            raise
        call.returned = True
        return call.result

    hooked = make(followed)
    if not inspect.isfunction(hooked):
        return make(original)

    def replacement(*args, **kwargs):
        if shield.stopped:
            return original(*args, **kwargs)
        call = _Call()
        try:
            here.calls.append(call)
        except AttributeError:
            here.calls = [call]
        try:
            return hooked(*args, **kwargs)
        except Exception as error:  # pylint: disable=broad-except
            if error is call.raised:
                raise
            shield.stop(name, error)
            if call.raised is not None:
                raise call.raised from None
        finally:
            here.calls.pop()
            call.raised = None  # It holds the frame that holds the call: what that has stays else.
        return call.result if call.returned else original(*args, **kwargs)

    return replacement


def wrap(owner, name: str, make: Callable, mark: str = "_pagetape", shielded: bool = True) -> None:
    """Replaces owner.name by make(original). Raises AttributeError where it is absent, so that
    the caller's hook is listed as skipped. Wrapping twice with one mark is refused: a class patched
    through its old and its new module path must record once. Not `shielded`: the hook itself lets
    no failure of its own reach the engine."""
    original = owner.__dict__[name] if isinstance(owner, type) and name in owner.__dict__ \
        else getattr(owner, name)
    within = original
    while within is not None:
        if getattr(within, mark, False):
            return
        within = getattr(within, "__wrapped__", None)
    place = f"{getattr(owner, '__name__', owner)}.{name}"
    replacement = _shielded(place, original, make) if shielded and callable(original) \
        else make(original)
    # Engines hand functions to their workers: one is pickled by the name it had.
    functools.update_wrapper(replacement, original, updated=())
    setattr(replacement, mark, True)
    setattr(owner, name, replacement)


def after(owner, name: str, then: Callable, mark: str = "_pagetape") -> None:
    """then(self, result, *args, **kwargs) once the original has returned."""

    def make(original):
        def replacement(self, *args, **kwargs):
            result = original(self, *args, **kwargs)
            if not shield.stopped:
                try:
                    then(self, result, *args, **kwargs)
                except Exception as error:  # pylint: disable=broad-except
                    shield.stop(f"{owner.__name__}.{name}", error)
            return result

        return replacement

    wrap(owner, name, make, mark, shielded=False)


def around(owner, name: str, before: Callable, then: Callable, mark: str = "_pagetape") -> None:
    """held = before(self, *args, **kwargs), the original, and unless that is None
    then(self, result, held, *args, **kwargs). Where both suffice, cheaper than wrap()."""

    def make(original):
        def replacement(self, *args, **kwargs):
            held = None
            if not shield.stopped:
                try:
                    held = before(self, *args, **kwargs)
                except Exception as error:  # pylint: disable=broad-except
                    shield.stop(f"{owner.__name__}.{name}", error)
            result = original(self, *args, **kwargs)
            if held is not None and not shield.stopped:
                try:
                    then(self, result, held, *args, **kwargs)
                except Exception as error:  # pylint: disable=broad-except
                    shield.stop(f"{owner.__name__}.{name}", error)
            return result

        return replacement

    wrap(owner, name, make, mark, shielded=False)


def expect(function: Callable, *parameters: str) -> None:
    """Raises TypeError where `function` lacks one of the parameters that a hook relies on, so that
    the hook is listed as skipped."""
    known = inspect.signature(function).parameters
    missing = [name for name in parameters if name not in known]
    if missing:
        raise TypeError(f"{function.__qualname__} has no parameter {', '.join(missing)}")


def expect_just(function: Callable, *parameters: str) -> None:
    """Likewise where these, behind `self`, are not all that it has and in this order: a hook with
    the same signature passes them on by position."""
    expect(function, *parameters)
    known = [*inspect.signature(function).parameters][1:]
    if known != [*parameters]:
        raise TypeError(f"{function.__qualname__} has the parameters {', '.join(known)}")


def observe(owner, name: str, then: Callable, *parameters: str) -> None:
    """then(self, result, **arguments) once the original has returned: with `parameters` alone, by
    their names in the original's signature, however the engine passes them."""
    original = getattr(owner, name)
    expect(original, *parameters)
    signature = inspect.signature(original)

    def told(self, result, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        then(self, result, **{one: bound.arguments[one] for one in parameters})

    after(owner, name, told)
