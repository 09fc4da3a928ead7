# SPDX-License-Identifier: Apache-2.0
"""Who holds the pages of one of SGLang's allocators: requests, and its prefix cache.

The caches (RadixCache, SWARadixCache, UnifiedRadixCache and others) tell no allocator what they
keep. It follows from what requests do with pages, whichever cache that is: what a request does not
give back when it leaves its row is the cache's from there on, and a page that a row names and its
request does not hold is the cache's, or another request's, and is held by both.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

UNRESOLVED = "#unresolved"
CACHE = "#cache"


class Holders:
    def __init__(self, recorder, pool: str) -> None:
        self.pool = pool
        self._recorder = recorder
        self._held: Dict[int, Dict[str, Optional[int]]] = {}  # page -> holder -> its logical page
        self._pages: Dict[str, Dict[int, None]] = {}  # holder -> its pages, as they came
        self._leaving: set = set()  # Pages on their way out of the window.

    def hold(self, page: int, holder: str, column: Optional[int]) -> None:
        """Tells nothing."""
        self._held.setdefault(page, {})[holder] = column
        self._pages.setdefault(holder, {})[page] = None

    def named(self, holder: str, pages: List[Tuple[int, int]]) -> None:
        """A request's row has these at its logical pages: (logical page, page). What it does not
        hold it shares from here on."""
        runs: List[Tuple[int, List[int]]] = []
        for column, page in pages:
            if holder in self._held.get(page, ()):
                continue
            self.hold(page, holder, column)
            if runs and column == runs[-1][0] + len(runs[-1][1]):
                runs[-1][1].append(page)
            else:
                runs.append((column, [page]))
        for first, run in runs:
            self._recorder.emit("share", pool=self.pool, req=holder, pages=run, first=first)

    def moved(self, holder: str, to: str) -> None:
        """What a request holds another one does from here on, at the same places."""
        pages = list(self._pages.pop(holder, ()))
        placed = [(self._held[page].pop(holder), page) for page in pages]
        self.named(to, sorted(one for one in placed if one[0] is not None))
        rest = [page for column, page in placed
                if column is None and to not in self._held[page]]
        for page in rest:
            self.hold(page, to, None)
        if rest:
            self._recorder.emit("share", pool=self.pool, req=to, pages=rest)
        if pages:
            self._recorder.emit("free", pool=self.pool, req=holder, pages=pages)

    def leave(self, pages) -> None:
        """These will come back because they left the window."""
        self._leaving.update(pages)

    def returned(self, pages: List[int]) -> None:
        """Pages that came back to the free list, from all that hold them: evicted where they were
        marked, else freed."""
        freed: Dict[str, List[int]] = {}
        for page in pages:
            # Nobody: taken before the recorder was there.
            for holder, column in (self._held.pop(page, None) or {UNRESOLVED: None}).items():
                self._let_go(holder, page)
                if page in self._leaving and column is not None:
                    self._recorder.emit("evict", pool=self.pool, req=holder, logical=column,
                                        page=page)
                else:
                    freed.setdefault(holder, []).append(page)
        self._leaving.difference_update(pages)
        for holder, those in freed.items():
            self._recorder.emit("free", pool=self.pool, req=holder, pages=those)

    def _let_go(self, holder: str, page: int) -> None:
        pages = self._pages.get(holder, {})
        pages.pop(page, None)
        if not pages:
            self._pages.pop(holder, None)

    def left(self, holder: str) -> None:
        """A request left its row: what it still holds the cache keeps. At no time is it no one's.
        """
        pages = list(self._pages.pop(holder, ()))
        if not pages:
            return
        new = [page for page in pages if CACHE not in self._held[page]]
        for page in pages:
            del self._held[page][holder]
        for page in new:
            self.hold(page, CACHE, None)
        if new:
            self._recorder.emit("share", pool=self.pool, req=CACHE, pages=new)
        self._recorder.emit("free", pool=self.pool, req=holder, pages=pages)
