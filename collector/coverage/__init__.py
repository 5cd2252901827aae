"""Which article is served how on which PC, said honestly (DESIGN §6)."""
