import sys
from pathlib import Path

TESTS = Path(__file__).parent.parent
sys.path.insert(0, str(TESTS / "data"))
sys.path.insert(0, str(TESTS / "parity"))
