"""`python -m ProtoSegBrainLib` is the command `protosegbrain`."""

import sys

from ProtoSegBrainLib.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
