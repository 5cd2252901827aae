"""Tables of the control database: releases by ring and proposals for the registers."""
