"""`python -m scanner` is the command `proxywarden`."""

from scanner.cli import main

main()
