"""What may name a person: found in headers, sidecars, tables and names, and cleaned."""
