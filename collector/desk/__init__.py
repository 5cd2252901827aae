"""Policy desk: from rules, ordinances, site file and registers to a signed bundle."""
