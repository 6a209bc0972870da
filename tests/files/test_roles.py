"""Swapped arguments are one sentence that gives the call."""

from types import SimpleNamespace

import pytest

from saekit.files.roles import CORPUS, DICTIONARY, MODEL, MODELS, SITE, check_roles, role_of

MODEL_HERE = SimpleNamespace(hook_dict={"blocks.0.hook_in": None, "blocks.1.hook_in": None})


class Sae:
    role = DICTIONARY


def test_what_things_are():
    hooks = MODEL_HERE.hook_dict
    assert role_of(MODEL_HERE) == MODEL and role_of(Sae()) == role_of(Sae) == DICTIONARY
    assert role_of("blocks.0.hook_in", hooks) == SITE and role_of(list(hooks), hooks) == SITE
    assert role_of(["blocks.0.hook_in", "a text"], hooks) is None and role_of("a text", hooks) is None
    assert role_of({"a": MODEL_HERE, "b": 3}) == MODELS and role_of({"a": [1.0]}) is None and role_of({}) is None
    assert role_of([Sae(), Sae()]) == DICTIONARY and role_of([]) is None and role_of(3) is None


def test_the_sentence_names_argument_role_and_call():
    call = "harvest(model, source, hooks)"
    with pytest.raises(TypeError) as error:
        check_roles(call, model=(MODEL_HERE, MODEL), source=("blocks.0.hook_in", CORPUS), hooks=(["a"], SITE))
    assert str(error.value) == f"source is a corpus, found a site ('blocks.0.hook_in'): the call is {call}."
    with pytest.raises(TypeError, match=r"model is a model, found a dictionary: the call is"):
        check_roles(call, model=(Sae(), MODEL), source=(MODEL_HERE, CORPUS))
    with pytest.raises(TypeError, match="model is a model, found several models by their names: the call is"):
        check_roles(call, model=({"a": MODEL_HERE}, MODEL))
    for allowed in (MODEL, (MODEL, MODELS)):
        with pytest.raises(TypeError, match=r"model is a model, found 'micro': sk.load_model\('micro'\) loads one"):
            check_roles(call, model=("micro", allowed))
    check_roles(call, model=(MODEL_HERE, MODEL), source=(["a text"], CORPUS), hooks=("no hook", SITE))
