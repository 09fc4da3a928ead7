# SPDX-License-Identifier: Apache-2.0
"""Drives a streaming session of SGLang: three requests, one after another, each of which
goes on in the row and the pages of the one before, beside others of the same prompt.

As sglang_prefix_cache.py, with SGLang's own Session and StreamingSession before its RadixCache.
"""

from __future__ import annotations

import os

os.environ["PAGETAPE_CACHE"] = "radix"

import sglang_prefix_cache as cached  # noqa: E402


class Server(cached.Server):
    def _cache(self):
        from sglang.srt.session.session_controller import Session
        from sglang.srt.session.streaming_session import StreamingSession

        self.session = Session(1 << 20, "session", streaming=True)
        return StreamingSession(super()._cache())

    def turn(self, rid: str, tokens, new: int):
        request = self.request(rid, tokens, new)
        request.session = self.session
        return request


def said(request):
    return [*request.origin_input_ids, *request.output_ids]


def run(server: Server) -> None:
    half = [7] * (cached.SCALE // 2)
    a = server.turn("A", cached.prompt(1, 2) + half, 4)
    server.prefill([a])
    server.decode(3)  # A ends within a page.
    server.prefill([server.request("X", cached.prompt(1, 2, 9), 3)])  # It finds A's two units.
    server.decode(2)
    b = server.turn("B", said(a) + cached.prompt(5), 4)
    server.prefill([b])
    server.decode(3)
    c = server.turn("C", said(b) + half, 2)
    while c not in server.running:
        server.prefill([c], chunk=cached.SCALE // 4)
    server.decode(1)
    server.cache.release_session("session")
    server.prefill([server.request("Y", cached.prompt(1, 2, 5), 3)])
    server.decode(2)


def main() -> None:
    import pagetape

    cls, held = cached.mtp.backend_class()
    session = pagetape.active()
    run(Server(cls, session.sglang if session else None))
    del held


if __name__ == "__main__":
    main()
