"""Class names that are one name to a person are told apart from those that are not."""

from lineside.labels import same_but_for_case


def test_case_outer_space_and_unicode_form_do_not_make_another_class():
    composed, decomposed = "Geh\u00e4use", "Geha\u0308use"
    assert same_but_for_case(["ok", "OK", "ok ", "bad"]) == [("OK", "ok", "ok ")]
    assert same_but_for_case([composed, decomposed, "Gehause"]) == [tuple(sorted((composed, decomposed)))]
