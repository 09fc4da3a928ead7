# SPDX-License-Identifier: Apache-2.0
"""python -m pagetape run SCRIPT [ARGUMENTS]"""

import runpy
import sys

from . import start, stop


def main() -> None:
    arguments = sys.argv[1:]
    if len(arguments) < 2 or arguments[0] != "run":
        sys.exit("usage: PAGETAPE_OUT=FILE python -m pagetape run SCRIPT [ARGUMENTS]")
    start()
    sys.argv = arguments[1:]
    try:
        runpy.run_path(arguments[1], run_name="__main__")
    finally:
        stop()


if __name__ == "__main__":
    main()
