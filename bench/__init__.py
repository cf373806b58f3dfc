"""What the gateway costs: PostgreSQL directly, through PgBouncer and through pgwitness, in one run.

``python -m bench`` writes RESULTS.md beside this file. The gateway is the one of tests/support.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))
