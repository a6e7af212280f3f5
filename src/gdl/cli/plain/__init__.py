"""`gdl-tui --plain`: the whole way in numbered lines, for screen readers and plain terminals."""
