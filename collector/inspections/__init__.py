"""Yearly self-inspection of each section (Nagoya 60, Meguro 21, Nerima 24), prefilled from facts."""
