"""Very many IPv6 networks as the lines of a blocklist zone, what those are cut to, and back.

n networks are n times 16 bytes of address, in network order, and n bytes of prefix length.
"""

def write_lines(addresses: bytes, lengths: bytes, before: bytes, behind: bytes) -> bytes:
    """BEFORE ADDRESS/LENGTH BEHIND, as one text, for each network; addresses as RFC 5952 wants them, no end is dotted.

    ValueError: sizes that do not fit, or a length above 128.
    """

def read_excluded(text: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """Networks of the whole lines `!ADDRESS/LENGTH`, and every other line as it is, without its newline.

    ValueError: the last line has no newline.
    """

def cut_short(addresses: bytes, lengths: bytes) -> tuple[bytes, bytes]:
    """What networks become when their text ends early, ascending, each once.

    Words alone are the network that begins so (2001:db8 is 2001:db8::/32), what has `::` in it is a single address, and
    of a length digits may be missing where no bit of the address is beyond it.

    ValueError: as write_lines().
    """
