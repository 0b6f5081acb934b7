"""What holds for every test: one thread for numerical libraries, and the helpers of this folder."""

import os
import sys
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # two cores are all there is

sys.path.insert(0, str(Path(__file__).parent))
