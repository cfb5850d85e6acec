"""Tables of people: read, explained, and joined with their scans."""
