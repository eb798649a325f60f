"""What bench/grid and bench/compare.py are made of."""
