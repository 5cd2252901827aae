"""Rules, permits and ordinances: one language, evaluated by the same code on the PC and in the centre."""
