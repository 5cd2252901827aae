"""Tables of the control database: addresses of assets and what was seen on segments."""
