"""The CISO's yearly management review (Nerima 11(5)): nine items, each with the facts the collector has."""
