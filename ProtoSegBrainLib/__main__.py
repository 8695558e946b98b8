"""`python -m ProtoSegBrainLib` is the command `protosegbrain`."""

import sys

from ProtoSegBrainLib.cli import main

if __name__ == "__main__":
    sys.exit(main())
