"""Tests of scanner/lab, with clients that share no code with the scanner."""
