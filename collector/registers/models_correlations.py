"""Tables of the control database: state of correlation rules."""
