# SPDX-License-Identifier: Apache-2.0
"""Importing this module starts a recording where PAGETAPE_OUT is set, and does nothing where it
is not: it can stand in a .pth file or in sitecustomize, so that spawned ranks record too. Under
`pagetape record` a process gets a trace when it has something to record: a server starts many."""

import os

if os.environ.get("PAGETAPE_OUT"):
    from . import start

    start(late="PAGETAPE_RING_DIR" in os.environ)
