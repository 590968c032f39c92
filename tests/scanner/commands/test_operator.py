def test_add_prints_a_link_that_works_once_and_show_lists_it(proxywarden):
    ended = proxywarden("operator", "add", "alice")
    assert ended.code == 0
    assert ended.out.startswith("http://127.0.0.1:8027/operator/link/")
    assert "alice sets a password" in ended.err
    shown = proxywarden("operator", "show")
    assert "alice" in shown.out
    assert ended.out.strip().rpartition("/")[2] not in shown.out


def test_a_submitters_token(proxywarden):
    ended = proxywarden("operator", "add", "trap", "--submitter")
    assert (ended.code, ended.out.startswith("pws_")) == (0, True)
    assert '"kind": "submitter"' in proxywarden("operator", "show", "--json").out


def test_remove(proxywarden):
    proxywarden("operator", "add", "alice")
    assert proxywarden("operator", "remove", "alice").code == 0
    again = proxywarden("operator", "remove", "alice")
    assert (again.code, len(again.said)) == (2, 1)
    assert "no accounts" in proxywarden("operator", "show").err


def test_a_name_that_is_none(proxywarden):
    for name in ("", "a b", "../x", "x" * 33, "-"):
        ended = proxywarden("operator", "add", "--", name)
        assert (ended.code, len(ended.said)) == (2, 1), name
