# SPDX-License-Identifier: Apache-2.0
"""python -m pagetape run SCRIPT [ARGUMENTS], or doctor"""

import runpy
import sys

from . import examine, start, stop


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["doctor"]:
        examine.main(arguments[1:])
        return
    if len(arguments) < 2 or arguments[0] != "run":
        sys.exit("usage: PAGETAPE_OUT=FILE python -m pagetape run SCRIPT [ARGUMENTS]\n"
                 "       python -m pagetape doctor")
    start()
    sys.argv = arguments[1:]
    try:
        runpy.run_path(arguments[1], run_name="__main__")
    finally:
        stop()


if __name__ == "__main__":
    main()
