"""Tables of the control database: indicator lists, self-inspections, reviews."""
