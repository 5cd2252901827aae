"""What agent and collector share on the wire: events, messages, signed documents, keys."""
