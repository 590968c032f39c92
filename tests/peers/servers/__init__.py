"""PEERS: a row for each real server and configuration, with what it must be found to be."""

from tests.peers.servers import http, others, socks, tunnels
from tests.peers.servers.peer import Peer

PEERS: tuple[Peer, ...] = (*socks.PEERS, *http.PEERS, *others.PEERS, *tunnels.PEERS)
if len({peer.id for peer in PEERS}) != len(PEERS):
    raise RuntimeError("two peers of one name and configuration")
