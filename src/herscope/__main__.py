"""``python -m herscope`` is the command ``herscope``."""

import sys

from herscope.cli import main

if __name__ == "__main__":
    sys.exit(main())
