"""An internet with a second canary for all of them; each module has files of its own."""

import pytest

from tests.network.internet import internet
from tests.network.product import Product


@pytest.fixture(scope="session")
def net():
    with internet() as made:
        yield made


@pytest.fixture(scope="session")
def secret(net, tmp_path_factory):
    """What the second canary and everybody's product share."""
    folder = tmp_path_factory.mktemp("other")
    made = Product(net, folder, folder / "secret")
    made.configure()
    made.second_canary()
    return made.secret


@pytest.fixture(scope="module")
def product(net, secret, tmp_path_factory):
    made = Product(net, tmp_path_factory.mktemp("product"), secret)
    made.configure()
    return made
