"""The web: what everybody may look up and ask for, and on a second listener what the operator does."""
