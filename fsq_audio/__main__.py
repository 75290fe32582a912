"""`python -m fsq_audio` is `fsq-audio`."""

from __future__ import annotations

import sys

from fsq_audio.cli import main

if __name__ == "__main__":
    sys.exit(main())
