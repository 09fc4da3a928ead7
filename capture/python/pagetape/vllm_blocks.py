# SPDX-License-Identifier: Apache-2.0
"""vLLM's KV cache groups, and who holds which block.

A group of layers is a pool with an index space of its own; all groups draw on one BlockPool, so a
block that one group holds is given to no other. Block 0 is the null block: it stands where a block
left the window, and nobody writes it.

BlockPool hands out and takes back blocks without knowing for whom. The managers of the groups call
it, each for one request: `begin` and `end` say for which. A block that is offered for reuse is
held by `#prefix`, too, until its hash is withdrawn, as the free queue holds it in the meantime.
"""

from __future__ import annotations

import hashlib
import os
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

PREFIX = "#prefix"
UNRESOLVED = "#unresolved"


class Group:
    """A KV cache group: its layers by name, and as the trace numbers them."""

    def __init__(self, pool: str, names: Tuple[str, ...], page_size: int, pages: int) -> None:
        self.pool = pool
        self.names = names
        self.page_size = page_size
        self.pages = pages


class Holding(NamedTuple):
    group: Group
    req: str
    column: Optional[int]


class Acting:
    """What a group's manager does for a request. Blocks are told when it is done: only then do
    they stand in the request's list."""

    def __init__(self, group: Group, manager, req: str, evicts: bool) -> None:
        self.group = group
        self.manager = manager
        self.req = req
        self.evicts = evicts
        self.new: List[int] = []
        self.hit: List[int] = []


class Shadow:
    """One BlockPool's blocks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.held: Dict[int, List[Holding]] = {}
        self.published: Dict[int, Tuple[Group, List[str]]] = {}  # block -> keys it is offered under


class Blocks:
    def __init__(self, recorder, addresses: bool, header: Callable[[], None]) -> None:
        self.recorder = recorder
        self.addresses = addresses
        self._header = header
        key = os.environ.get("PAGETAPE_DIGEST_KEY")
        self._secret = key.encode()[:64] if key else os.urandom(16)
        self._shadows: Dict[int, Shadow] = {}  # by id(BlockPool), which the recorder keeps
        self._groups: Dict[Tuple[str, ...], Group] = {}  # by the layers' names
        self._of_manager: Dict[int, Group] = {}
        self._acting: List[Acting] = []
        self._alive: Dict[str, str] = {}  # request -> state last written

    # --- pools

    def groups(self, config) -> List[Group]:
        """The groups of a KVCacheConfig, which worker and scheduler each have a copy of."""
        self._header()
        return [self._group(config, one) for one in config.kv_cache_groups]

    def _group(self, config, one) -> Group:
        names = tuple(one.layer_names)
        known = self._groups.get(names)
        if known is not None and known.pages == int(config.num_blocks):
            return known
        spec = one.kv_cache_spec
        spec = next(iter(getattr(spec, "kv_cache_specs", {}).values()), spec)
        kind = "full"
        if getattr(spec, "sliding_window", None) is not None:
            kind = "swa"
        elif not hasattr(spec, "num_kv_heads"):
            kind = "state"
        name = known.pool if known is not None else f"group{len(self._groups)}"
        group = Group(name, names, int(spec.block_size), int(config.num_blocks))
        self._groups[names] = group
        shape = {}
        if kind != "state":
            shape = {"kv_heads": int(spec.num_kv_heads), "head_dim": int(spec.head_size),
                     "dtype": str(spec.dtype).replace("torch.", "")}
        self.recorder.emit("pool", pool=group.pool, pages=group.pages, page_size=group.page_size,
                           allocator="blocks", kind=kind, layers=len(names),
                           reserved=[{"page": 0, "role": "null"}], **shape)
        return group

    def manage(self, manager) -> None:
        """A KVCacheManager is there: its groups' managers act on the groups of its config."""
        groups = self.groups(manager.kv_cache_config)
        for one in manager.coordinator.single_type_managers:
            self._of_manager[id(one)] = groups[one.kv_cache_group_id]
            self.recorder.name(one, "manager")  # kept, so that its id stays its own
        self.shadow(manager.block_pool)

    def shadow(self, pool) -> Shadow:
        found = self._shadows.get(id(pool))
        if found is None:
            found = self._shadows[id(pool)] = Shadow(self.recorder.name(pool, "blocks"))
        return found

    def unseen(self, why: str) -> None:
        """Something that this adapter does not record wrote blocks: nothing is claimed of them."""
        self.recorder.emit("gap", why=why, pools=[one.pool for one in self._groups.values()])

    # --- requests

    def state(self, req: str, state: str) -> None:
        before = self._alive.get(req)
        if state == "run" and before == "preempt":
            self.recorder.emit("request", req=req, state="resume")
        elif state != before:
            self.recorder.emit("request", req=req, state=state)
        self._alive[req] = state
        if state in ("finish", "abort"):
            del self._alive[req]

    def rewind(self, req: str, length: int) -> None:
        """Of what `req` wrote the first `length` tokens count."""
        for group in self._groups.values():
            self.recorder.emit("rewind", pool=group.pool, req=req, len=length)

    # --- blocks

    def begin(self, manager, req: str, evicts: bool) -> Optional[Acting]:
        group = self._of_manager.get(id(manager))
        if group is None:
            return None
        self._acting.append(Acting(group, manager, req, evicts))
        return self._acting[-1]

    def end(self, acting: Acting) -> None:
        self._acting.remove(acting)
        self._settle(acting)

    def taken(self, pool, blocks) -> None:
        if self._acting:
            self._acting[-1].new += [int(block.block_id) for block in blocks]
        elif blocks and id(pool) in self._shadows:
            self.unseen("blocks were taken by something other than a group's manager")

    def touched(self, pool, blocks) -> None:
        ids = [int(block.block_id) for block in blocks if not block.is_null]
        if self._acting:
            self._acting[-1].hit += ids
        elif ids and id(pool) in self._shadows:
            self.unseen("blocks were touched by something other than a group's manager")

    def _settle(self, acting: Acting) -> None:
        """In columns one after the other, one event."""
        if not acting.new and not acting.hit:
            return
        listed = acting.manager.req_to_blocks.get(acting.req, [])
        columns = {int(block.block_id): i for i, block in enumerate(listed) if not block.is_null}
        shadow = self.shadow(acting.manager.block_pool)
        for block in acting.hit:
            self._reused(shadow, acting, block, columns.get(block))
        run: List[int] = []
        for block in acting.new:
            if run and columns.get(block) != columns.get(run[-1], -2) + 1:
                self._given(shadow, acting, run, columns)
                run = []
            run.append(block)
        if run:
            self._given(shadow, acting, run, columns)

    def _given(self, shadow: Shadow, acting: Acting, blocks: List[int], columns) -> None:
        for block in blocks:
            holding = Holding(acting.group, acting.req, columns.get(block))
            shadow.held.setdefault(block, []).append(holding)
        first = columns.get(blocks[0])
        place = {} if first is None else {"first": first}
        self.recorder.emit("alloc", pool=acting.group.pool, req=acting.req, pages=blocks, **place)

    def _reused(self, shadow: Shadow, acting: Acting, block: int, column: Optional[int]) -> None:
        holding = Holding(acting.group, acting.req, column)
        shadow.held.setdefault(block, []).append(holding)
        place = {} if column is None else {"first": column}
        offered = shadow.published.get(block)
        if offered is None:
            self.recorder.emit("share", pool=acting.group.pool, req=acting.req, pages=[block],
                               **place)
        else:
            self.recorder.emit("prefix_hit", pool=acting.group.pool, req=acting.req, page=block,
                               key=offered[1][0], **place)

    def returned(self, pool, blocks: List[int]) -> None:
        """By the request that the manager acts for; else, as for frees that were put off until a
        step is over, by whoever holds the block."""
        shadow = self._shadows.get(id(pool))
        if shadow is None:
            return
        acting = self._acting[-1] if self._acting else None
        freed: Dict[Tuple[str, str], List[int]] = {}
        for block in blocks:
            held = self._released(shadow, block, acting)
            if held is None:
                group = acting.group.pool if acting else next(iter(self._groups.values())).pool
                freed.setdefault((group, acting.req if acting else UNRESOLVED), []).append(block)
            elif acting is not None and acting.evicts and held.column is not None:
                self.recorder.emit("evict", pool=held.group.pool, req=held.req,
                                   logical=held.column, page=block)
            else:
                freed.setdefault((held.group.pool, held.req), []).append(block)
        for (group, req), pages in freed.items():
            self.recorder.emit("free", pool=group, req=req, pages=pages)

    @staticmethod
    def _released(shadow: Shadow, block: int, acting: Optional[Acting]) -> Optional[Holding]:
        holdings = shadow.held.get(block, [])
        mine = [one for one in holdings if acting is not None and one.group is acting.group
                and one.req == acting.req]
        held = next(iter(mine or (holdings if acting is None else [])), None)
        if held is not None:
            holdings.remove(held)
            if not holdings:
                del shadow.held[block]
        return held

    # --- blocks offered for reuse

    def offered(self, pool, group: int, blocks) -> None:
        """Full blocks that got a hash: before the step that writes them."""
        shadow = self._shadows.get(id(pool))
        for block in blocks if shadow is not None else []:
            number, digest = int(block.block_id), block.block_hash
            if block.is_null or digest is None:
                continue
            owner = self._holder(shadow, number) or list(self._groups.values())[group]
            known = shadow.published.get(number)
            key = self._key(digest)
            if known is None:
                self.recorder.emit("share", pool=owner.pool, req=PREFIX, pages=[number])
                known = shadow.published[number] = (owner, [])
            if key not in known[1]:
                known[1].append(key)
                self.recorder.emit("prefix_key", pool=owner.pool, page=number, key=key,
                                   when="scheduled")

    @staticmethod
    def _holder(shadow: Shadow, block: int) -> Optional[Group]:
        return next((one.group for one in shadow.held.get(block, [])), None)

    def withdrawn(self, pool, block: int) -> None:
        shadow = self._shadows.get(id(pool))
        known = shadow.published.pop(block, None) if shadow is not None else None
        if known is None:
            return
        for key in known[1]:
            self.recorder.emit("prefix_drop", pool=known[0].pool, page=block, key=key)
        self.recorder.emit("free", pool=known[0].pool, req=PREFIX, pages=[block])

    def withdrawn_all(self, pool) -> None:
        shadow = self._shadows.get(id(pool))
        for block in sorted(shadow.published) if shadow is not None else []:
            self.withdrawn(pool, block)

    def _key(self, digest) -> str:
        """Hashes are of token ids: the trace has them under a key of this process's own."""
        data = digest if isinstance(digest, bytes) else repr(digest).encode()
        return hashlib.blake2b(data, key=self._secret, digest_size=8).hexdigest()
