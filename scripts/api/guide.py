"""Prints the commands of docs/api.md as one script."""

import re
import sys

print("set -euo pipefail")
for block in re.findall(r"^```sh\n(.*?)^```$", open(sys.argv[1], encoding="utf-8").read(), re.MULTILINE | re.DOTALL):
    print(block)
