"""Who is on the LAN, as pure functions and tables: frames in, changes out. No sockets, no clock."""
