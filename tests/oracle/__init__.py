"""Plain twins of core/: slow, short, obviously right. The same tests run on both."""
