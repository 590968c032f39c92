"""Names of a zone, against a resolver that is nothing but RFC 4592 and a list that is nothing but a set."""

from ipaddress import ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.publish.image import Image, item_of
from scanner.publish.names import Names, Node
from scanner.publish.views import Heading

LISTS = ("ops", "dul")
HEADINGS = {"ops": Heading("ops", "entry"), "dul": Heading("dul", "dynamic")}
FOUR = ["10.1.2.3", "10.1.2.9", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.0/23", "10.0.0.0/13", "10.1.2.8/30", "10.200.0.1"]
SIX = ["2a00::1", "2a00::/64", "2a00::/61", "2a00:0:0:2::/63", "2a00::/30", "2a00:0:0:8::5", "2a00:1::/32"]
ASKED4 = [
    "10.1.2.3",
    "10.1.2.4",
    "10.1.2.9",
    "10.1.3.1",
    "10.1.9.9",
    "10.2.0.1",
    "10.7.1.1",
    "10.8.0.0",
    "10.200.0.1",
    "10.200.0.2",
]
ASKED6 = [
    "2a00::1",
    "2a00::2",
    "2a00:0:0:1::1",
    "2a00:0:0:3::1",
    "2a00:0:0:8::5",
    "2a00:0:0:8::6",
    "2a00:1::9",
    "2a03::1",
    "2a04::",
]


def answer(zone, labels):
    """What an authoritative server says: the name itself, else the wildcard of its closest encloser."""
    nodes = {()} | {tuple(name[cut:]) for name in zone for cut in range(len(name))}
    name = tuple(labels)
    if name in nodes:
        return zone.get(name, [])
    while name not in nodes:
        name = name[1:]
    return zone.get(("*", *name), [])


def asked(text):
    address = ip_address(text)
    if address.version == 4:
        return list(reversed(text.split(".")))
    return list(reversed(address.exploded.replace(":", "")))


def zone_of(names):
    return {tuple(node.labels().split(".")): names.content(node) for node in set(names.all()) if names.content(node)}


def check(image, version, model):
    names = Names(image, version, LISTS)
    zone = zone_of(names)
    for text in ASKED4 if version == 4 else ASKED6:
        expected = {list_ for list_, network in model if ip_address(text) in ip_network(network)}
        assert {heading.list for heading in answer(zone, asked(text))} == expected, text
    return names, zone


steps4 = st.lists(st.tuples(st.sampled_from(LISTS), st.sampled_from(FOUR)), max_size=12)
steps6 = st.lists(st.tuples(st.sampled_from(LISTS), st.sampled_from(SIX)), max_size=12)


def walk(version, history):
    """Each entry comes, and goes when it is named again; what is said to change is what changes."""
    image, model, zone = Image(), set(), {}
    for list_, text in history:
        heading, item = HEADINGS[list_], item_of(text)
        if (list_, text) in model:
            model.discard((list_, text))
            image.take(heading.list, heading.type, item)
        else:
            model.add((list_, text))
            image.put(heading, item)
        names, expected = check(image, version, model)
        for node in set(names.affected(item)):
            name, content = tuple(node.labels().split(".")), names.content(node)
            if content:
                zone[name] = content
            else:
                zone.pop(name, None)
        assert zone == expected


@settings(max_examples=50, deadline=None)
@given(steps4)
def test_every_address_of_ipv4_answers_what_the_list_says(history):
    walk(4, history)


@settings(max_examples=30, deadline=None)
@given(steps6)
def test_every_address_of_ipv6_answers_what_the_list_says(history):
    walk(6, history)


def test_a_range_around_an_address_has_the_wildcard_beside_it():
    image = Image()
    image.put(HEADINGS["dul"], item_of("198.51.0.0/16"))
    image.put(HEADINGS["ops"], item_of("198.51.100.7"))
    names = Names(image, 4, LISTS)
    assert {node.labels() for node in names.all()} == {"*.51.198", "*.100.51.198", "7.100.51.198"}
    assert [heading.list for heading in names.content(Node(4, int(ip_address("198.51.100.7")), 32))] == ["ops", "dul"]


def test_names_of_ipv6_are_nibbles():
    assert Node(6, int(ip_address("2a00::1")), 128).labels() == "1" + ".0" * 29 + ".a.2"
    assert Node(6, int(ip_address("2a00::")), 12).labels() == "*.0.a.2"
