"""FeatureBrowser in Python: its traits, what it answers, what it keeps in the store, and the file it writes."""

from __future__ import annotations

import gc
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import unpacked
from fake_store import ABSENT, BROKEN, DEAD, LONG, NASTY, SIGNED, FakeStore
from saekit_widgets import FeatureBrowser
from saekit_widgets.protocols import FeatureSource


def browser_of(store: FakeStore, **more: Any) -> Any:
    made = FeatureBrowser(store, **more)
    made.sent = []
    made.send = lambda content, buffers=None: made.sent.append((content, buffers or []))  # type: ignore[method-assign]
    return made


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def made(store) -> Any:
    return browser_of(store, model=object())


def ask(made: Any, kind: str, **content: Any) -> tuple[dict[str, Any], list[bytes]]:
    """The one answer with the question's id; it must be JSON as the browser's parser takes it."""
    made._handle_custom_msg({"kind": kind, "id": 17, **content}, [])
    answers = [(reply, buffers) for reply, buffers in made.sent if "id" in reply]
    assert len(answers) == 1 and answers[0][0]["id"] == 17
    made.sent = [(reply, buffers) for reply, buffers in made.sent if "id" not in reply]
    json.dumps(answers[0][0], allow_nan=False)
    return answers[0]


def shown(made: Any) -> list[int]:
    """The list, as Python gives it."""
    return made.latents()["latent"].tolist()


def test_the_fake_store_satisfies_the_protocol(store) -> None:
    source: FeatureSource = store  # the type checker holds this line
    assert source.listing()["d_sae"] == 400


def test_it_opens_on_the_strongest_feature_with_the_stars_of_the_store(store, made) -> None:
    assert made.feature == int(np.argmax(store.strongest)) and made.starred == [NASTY]
    assert (made.filter, made.sort, made.tab, made.error) == ({}, None, "top", "")
    opened = FeatureBrowser(store, feature=7, filter={"max": [1, None]}, sort=["f1", False], tab="near")
    assert (opened.feature, opened.filter, opened.sort, opened.tab) == (7, {"max": [1, None]}, ["f1", False], "near")


def test_wrong_arguments_are_named(store) -> None:
    with pytest.raises(TypeError, match="modl"):
        FeatureBrowser(store, modl=3)
    wrong = {
        r"filter does not know 'densty'. Did you mean 'density'\?": {"filter": {"densty": [0, 1]}},
        r"filter\['max'\] is \[low, high\], numbers or None; it is not 3": {"filter": {"max": 3}},
        r"goes from 5 down to 1": {"filter": {"max": [5, 1]}},
        r"filter\['search'\] is text": {"filter": {"search": 7}},
        r"filter\['dead'\] is True or False": {"filter": {"dead": "yes"}},
        r"concept does not know 'intro.nam'. Did you mean 'intro.name'\?": {"filter": {"concept": "intro.nam"}},
        r"sort does not know 'maximum'. Did you mean 'max'\?": {"sort": ["maximum", True]},
        r"sort is \[column, descending\]": {"sort": ["max"]},
        r"tab does not know 'tops'. Did you mean 'top'\?": {"tab": "tops"},
        r"feature names latents from 0 to 399, not 400": {"feature": 400},
        r"height is a whole number of pixels from 320 to 4000, not 50; the closest is 320": {"height": 50},
        r"pixels from 320 to 4000, not 'tall'; usual is 680": {"height": "tall"},
    }
    for sentence, arguments in wrong.items():
        with pytest.raises(ValueError, match=sentence):
            FeatureBrowser(store, **arguments)


def test_a_model_that_is_not_the_stores_is_named_at_once(store) -> None:
    with pytest.raises(ValueError, match=r"'micro' \(model_hash 12ab\), this model is 'other' \(ffff\)"):
        FeatureBrowser(store, model="other")


def test_a_wrong_value_leaves_the_old_one(made) -> None:
    for name, value in {
        "filter": {"x": 1},
        "feature": -1,
        "tab": "none",
        "height": 7.5,
        "sort": [1],
        "starred": [4000],
    }.items():
        before = getattr(made, name)
        with pytest.raises(ValueError):
            setattr(made, name, value)
        assert getattr(made, name) == before


def test_traits_stay_small(made) -> None:
    state = {name: value for name, value in made.get_state().items() if name != "_esm"}
    assert len(str(state)) < 1500


def test_on_select_hears_both_sides_until_it_ends(made) -> None:
    heard: list[int] = []
    end = made.on_select(heard.append)
    made.feature = 3
    made.set_state({"feature": 4})  # as the browser does
    made.feature = 4
    end()
    made.feature = 5
    assert heard == [3, 4]


def test_listing_is_binary_and_complete(store, made) -> None:
    reply, buffers = ask(made, "listing")
    assert [one["name"] for one in reply["columns"]] == [*store.columns] and reply["d_sae"] == 400
    assert reply["columns"] == store.listing()["about"]
    assert np.array_equal(np.frombuffer(buffers[1], "<f4"), store.strongest)
    assert np.array_equal(np.frombuffer(buffers[5], "<f4"), store.usual)
    assert np.array_equal(np.frombuffer(buffers[6], "<i2"), store.concept)
    assert np.array_equal(np.frombuffer(buffers[7], "u1"), store.density == 0)
    hints = buffers[8].decode().split("\0")
    assert len(hints) == 400 and hints[1].startswith("␣dragon ␣egg␀")  # a hint's own U+0000 separates nothing
    assert {"latent": SIGNED, "label": LONG, "star": False, "note": ""} in reply["labels"]
    assert reply["off"] == {} and reply["has_model"]
    assert "pass model=" in ask(browser_of(store), "listing")[0]["off"]["prompt"]


def test_a_view_goes_as_json_and_one_buffer(store, made) -> None:
    reply, (numbers,) = ask(made, "feature", latent=12)
    values = np.frombuffer(numbers, "<f4")
    original = store.view(12)
    one, packed = (
        original["examples"]["interval"][2]["examples"][1],
        reply["view"]["examples"]["interval"][2]["examples"][1],
    )
    count = len(one["pieces"])
    activation, logit, loss = values[packed["at"] : packed["at"] + 3 * count].reshape(3, count)
    assert np.array_equal(activation, np.array(one["values"], "f4"))
    assert [None if np.isnan(v) else round(float(v), 3) for v in loss] == one["loss_effect"]
    assert np.isnan(logit).sum() == one["logit_effect"].count(None)
    assert packed["pieces"] == one["pieces"] and "values" not in packed
    assert len(values) == 3 * sum(len(e["pieces"]) for e in examples_of(original["examples"]))
    assert ask(made, "feature", latent=DEAD)[0]["view"]["skewness"] is None  # JSON knows no nan


def examples_of(examples: dict[str, Any]) -> list[Any]:
    return [one for parts in examples.values() for part in parts for one in part.get("examples", [part])]


def test_every_failure_is_an_answer(store, made) -> None:
    assert "part-0007" in ask(made, "feature", latent=BROKEN)[0]["message"]
    assert "not 4000" in ask(made, "feature", latent=4000)[0]["message"]
    assert "not None" in ask(made, "feature")[0]["message"]
    reply, _ = ask(made, "prompt", text="fail")
    assert reply["kind"] == "error" and reply["message"] == "RuntimeError: the model is out of memory"
    assert "Traceback" in reply["details"]
    assert "'nonsense'; it knows listing" in ask(made, "nonsense")[0]["message"]
    assert "pass model=" in ask(browser_of(store), "prompt", text="x")[0]["message"]
    short = store.view(12)
    short["examples"]["top"][0]["values"].pop()
    store.view = lambda latent: short
    assert re.search(r"has \d+ pieces but \d+ entries of values", ask(made, "feature", latent=12)[0]["message"])


def test_prompt_values_are_a_buffer(made) -> None:
    reply, (values,) = ask(made, "prompt", text="one two")
    assert reply["pieces"] == ["<s>", "one", " two"] and "values" not in reply
    assert np.frombuffer(values, "<f4").reshape(len(reply["latents"]), 3)[0, 1] > 0


def test_labels_are_kept_by_the_store_and_told_to_every_view(store, made) -> None:
    reply, _ = ask(made, "label", latent=4, label="mine", star=True)
    assert reply["stored"] == {"label": "mine", "star": True, "note": "", "saved": "2026-01-02T15:04:05"}
    assert store.labels[4]["label"] == "mine" and made.starred == [4, NASTY]
    ((told, _),) = made.sent
    assert told["kind"] == "labels" and told["labels"][0]["latent"] == 4 and "id" not in told
    made.sent.clear()
    assert ask(made, "label", latent=4, note="n")[0]["stored"]["label"] == "mine"  # the rest stays
    assert ask(made, "label", latent=4, label="")[0]["stored"]["label"] == ""
    reply, _ = ask(made, "label", latent=4, label="refuse")
    assert reply["message"] == "OSError: the disk is full" and store.labels[4]["label"] == ""


def test_stars_set_from_python_go_into_the_store_once(store, made) -> None:
    before = len(store.log)
    made.starred = [9, 3, 9]
    assert made.starred == [3, 9] and store.log[before:] == [3, NASTY, 9]
    assert store.labels[3]["star"] and not store.labels[NASTY]["star"] and store.labels[3]["label"]
    assert sorted(one["latent"] for one in made.sent[0][0]["labels"]) == [3, NASTY, 9]
    made.starred = [3, 9]
    assert len(store.log) == before + 3


def test_stars_that_the_store_does_not_take_are_not_starred() -> None:
    store = FakeStore(read_only=True)
    made = browser_of(store)
    with pytest.raises(PermissionError):
        made.starred = [3]
    assert made.starred == [NASTY] == made._stars() and made.sent == []
    store.read_only, plain = False, store.set_label
    store.set_label = lambda latent, **more: 1 / 0 if latent == NASTY else plain(latent, **more)
    with pytest.raises(ZeroDivisionError):
        made.starred = [3]  # one was stored before the other failed
    assert made.starred == [3, NASTY] == made._stars()
    assert [one["latent"] for one in made.sent[0][0]["labels"]] == [3]


def test_a_signed_latent_is_listed_by_its_strongest(store, made) -> None:
    lowest, strongest = float(store.minimum[SIGNED]), float(store.strongest[SIGNED])
    assert strongest == -lowest > store.maximum[SIGNED]
    made.filter = {"max": [strongest - 0.001, strongest + 0.001]}
    assert shown(made) == [SIGNED]
    store.minimum[SIGNED], store.strongest[SIGNED] = -99, 99
    assert FeatureBrowser(store).feature == SIGNED


def test_detection_filters_and_hears_of_new_scores(store, made) -> None:
    version = ask(made, "listing")[0]["version"]
    made.filter = {"detection": [0.6, None]}
    assert shown(made) == []
    store.score(20, 0.7)
    store.score(22, 0.5)
    assert {one["latent"] for one in ask(made, "labels", since=version)[0]["labels"]} == {20, 22}
    assert shown(made) == [20]


def test_another_browser_on_the_store_is_heard(store, made) -> None:
    version = ask(made, "listing")[0]["version"]
    other = browser_of(store)
    ask(other, "label", latent=20, star=True, label="theirs")
    reply, _ = ask(made, "labels", since=version)
    assert [(one["latent"], one["label"]) for one in reply["labels"]] == [(20, "theirs")]
    assert made.starred == [NASTY, 20] and reply["version"] == version + 1
    assert ask(made, "labels", since=reply["version"])[0]["labels"] == []
    assert len(store.log) == version + 1  # hearing of a star does not store it again


def test_the_list_in_python_is_the_list_that_is_drawn(store, made) -> None:
    assert all(store.density[latent] for latent in shown(made)) and len(shown(made)) > 300
    assert shown(made)[0] == int(np.argmax(store.strongest))
    made.filter = {"dead": True}
    assert DEAD in shown(made) and not store.density[shown(made)].any()
    made.filter = {"search": str(DEAD)}
    assert DEAD in shown(made)
    made.filter = {"starred": True}
    assert shown(made) == [NASTY]
    made.filter, made.sort = {"max": [5, None], "concept": "code.bracket", "search": "SHARING"}, ["latent", False]
    found = shown(made)
    assert found == sorted(found) and found
    strong = [i for i in found if store.strongest[i] >= 5 and store.concept[i] == 1]
    assert strong == found and all("sharing" in store.labels[i]["label"] for i in found)
    made.filter = {"loss_effect": [-9, 9]}
    assert np.isfinite(store.effect[shown(made)]).all()
    made.filter, made.sort = {}, ["loss_effect", False]
    assert np.isnan(store.effect[shown(made)[-1]])


def test_export_is_one_file_that_names_no_address(store, made, tmp_path) -> None:
    store.labels[20] = {"label": "a </script><script>alert(1)</script> & <!-- \ud800", "star": True}
    made = browser_of(store, feature=BROKEN)
    path = made.export_html(tmp_path / "features.html")
    text = path.read_text(encoding="utf-8")
    assert text.count("</script>") == 2 and "<!--" not in text and [*tmp_path.iterdir()] == [path]
    data = unpacked(text)
    assert set(re.findall(r"https?://[\w./-]+", text + data["bundle"].decode())) <= {"http://www.w3.org/2000/svg"}
    views = [key for key in data["answers"] if key.startswith("feature:")]
    assert 50 <= len(views) <= 53 and {f"feature:{BROKEN}", f"feature:{NASTY}", "feature:20"} <= set(views)
    broken = data["answers"][f"feature:{BROKEN}"][0]
    assert "part-0007" in broken["message"] and "details" not in broken
    assert data["state"]["feature"] == BROKEN and "it holds 5" in data["refusals"]["feature"]
    few = made.export_html(str(tmp_path / "few.html"), features=[12, 13, 12])
    data = unpacked(few.read_text())
    assert [key for key in data["answers"] if key.startswith("feature:")] == ["feature:12", "feature:13"]
    assert data["state"]["feature"] == 12
    with pytest.raises(ValueError, match="not 4000"):
        made.export_html(tmp_path / "none.html", features=[4000])


def test_an_exported_file_lists_what_is_inside(store, made, tmp_path) -> None:
    store.waits = {13}
    store.effect[[12, 13]] = 0.5, np.nan
    made.starred = [12, 20]
    listing, buffers = unpacked(made.export_html(tmp_path / "two.html", features=[12, 13]).read_text())["answers"][
        "listing"
    ]
    assert listing["inside"] == [12, 13] and {one["latent"] for one in listing["labels"]} == {12}
    assert listing["facts"].endswith(" · 2 of 400 features · loss effect of 1 of them") and not listing["has_model"]
    strongest = np.frombuffer(buffers[1], "<f4")
    assert np.flatnonzero(np.isfinite(strongest)).tolist() == [12, 13] and strongest[12] == store.strongest[12]
    hints = buffers[-1].decode().split("\0")
    near = {row["latent"] for latent in (12, 13) for row in store.view(latent)["neighbours"]}
    assert {i for i, hint in enumerate(hints) if hint} == {12, 13} | near  # neighbours are named, and no more
    labelled = next(latent for latent in near if latent in store.labels and latent not in (12, 13))
    assert hints[labelled] == store.labels[labelled]["label"]
    assert unpacked((tmp_path / "two.html").read_text())["state"]["starred"] == [12]


def test_an_exported_file_has_the_numbers_in_few_digits(store, made, tmp_path) -> None:
    content, (numbers,) = unpacked(made.export_html(tmp_path / "one.html", features=12).read_text())["answers"][
        "feature:12"
    ]
    live, (exact,) = ask(made, "feature", latent=12)
    values, wanted = np.frombuffer(numbers, "<f4"), np.frombuffer(exact, "<f4")
    np.testing.assert_allclose(values, wanted, rtol=2e-5)
    assert not (np.frombuffer(numbers, "u1")[::4]).any()  # the byte that says least
    edges = content["view"]["histogram"]["edges"]
    np.testing.assert_allclose(edges, live["view"]["histogram"]["edges"], rtol=1e-5)
    assert max(len(repr(edge)) for edge in edges) <= 8


def test_effects_are_measured_for_a_file_where_that_is_wished(store, made, tmp_path) -> None:
    store.waits = {13}
    store.effect[13] = np.nan
    said = unpacked(made.export_html(tmp_path / "without.html", features=[13]).read_text())["answers"]["feature:13"][0]
    fact = said["view"]["numbers"]["loss_effect"]
    assert fact["value"] is None and "effects=True" in fact["more"] and "later" not in fact
    made.export_html(tmp_path / "with.html", features=[13], effects=True)
    data = unpacked((tmp_path / "with.html").read_text())["answers"]
    assert data["feature:13"][0]["view"]["numbers"]["loss_effect"]["value"] == 0.117
    assert data["listing"][0]["facts"].endswith("1 of 400 features") and not store.waits
    with pytest.raises(ValueError, match=r"effects=True needs the model: pass model=… to FeatureBrowser\."):
        browser_of(store).export_html(tmp_path / "none.html", effects=True)
    assert not (tmp_path / "none.html").exists()


def test_a_file_that_is_stopped_is_not_there(store, made, tmp_path) -> None:
    def stopped(latent: int) -> Any:
        raise KeyboardInterrupt

    store.view = stopped
    with pytest.raises(KeyboardInterrupt):
        made.export_html(tmp_path / "features.html")
    assert [*tmp_path.iterdir()] == []


def test_an_exported_file_names_no_folder_of_this_machine(tmp_path) -> None:
    folder = tmp_path / "stores" / "first"
    store = FakeStore(title=str(folder))
    plain_listing, plain_view = store.listing, store.view
    store.listing = lambda: (
        plain_listing()
        | {
            "model": str(tmp_path / "my models" / "small"),
            "facts": f"TopK · of {tmp_path}/texts/train",
            "definitions": {"list": {"title": "t", "text": f"Of {tmp_path / 'my models' / 'small'}, 1/2, C:\\a\\b."}},
        }
    )
    store.view = lambda latent: plain_view(latent) | {"absent": {"logits": f"No {tmp_path}/x/head.safetensors there"}}
    made = browser_of(store, feature=BROKEN)
    text = made.export_html(tmp_path / "features.html").read_text(encoding="utf-8")
    data = unpacked(text)
    everything = text + json.dumps({**data, "bundle": data["bundle"].decode()}, default=lambda raw: raw.decode("latin"))
    assert str(tmp_path) not in everything and str(Path(__file__).parents[2]) not in everything
    assert "my models" not in everything
    listing = data["answers"]["listing"][0]
    assert (listing["title"], listing["model"]) == ("first", "small") and f"<title>first · {BROKEN}</title>" in text
    assert listing["facts"].startswith("TopK · of train") and listing["store"] == ""
    assert listing["definitions"]["list"]["text"] == "Of small, 1/2, b."
    assert "first/part-0007.parquet ends" in data["answers"][f"feature:{BROKEN}"][0]["message"]
    assert data["answers"][f"feature:{NASTY}"][0]["view"]["absent"]["logits"] == "No head.safetensors there"
    assert ask(made, "export")[0]["name"] == f"first_{BROKEN}.html"
    assert ask(made, "listing")[0]["title"] == str(folder)  # in the notebook it is told


def test_the_save_button_gets_the_file(made) -> None:
    made.feature = 12
    reply, (page,) = ask(made, "export")
    assert reply["name"] == "first_12.html" and page.startswith(b"<!doctype html>")


def test_a_saved_notebook_shows_the_card(store, made, published) -> None:
    made.feature = 12
    made._ipython_display_()
    (view, _), (card, card_id) = published
    assert set(view) == {"application/vnd.jupyter.widget-view+json", "text/plain"}
    assert view["text/plain"] == "<FeatureBrowser: stores/first, feature 12 of 400>"
    assert set(card) == {"text/html"} and "<div>feature 12</div>" in card["text/html"]
    assert "run this cell again" in card["text/html"] and made._live in card["text/html"] and made._live in card_id
    store.card = lambda latent: 1 / 0
    made._ipython_display_()
    assert set(published[2][0]) == set(view) and "division by zero" in published[3][0]["text/html"]


@pytest.fixture
def published(monkeypatch) -> list[tuple[dict[str, Any], str | None]]:
    """What is displayed in a notebook: data, and the identifier by which it can be replaced."""
    out: list[tuple[dict[str, Any], str | None]] = []

    def publish(data: dict[str, Any], metadata: Any = None, *, transient: Any = None, update: bool = False) -> None:
        assert not update
        out.append((data, (transient or {}).get("display_id")))

    monkeypatch.setattr("IPython.display.publish_display_data", publish)
    monkeypatch.setattr("saekit_widgets.base.in_notebook", lambda: True)
    return out


def test_outside_a_notebook_it_is_its_text(made) -> None:
    with pytest.raises(NotImplementedError):  # which IPython takes for: draw it by its text
        made._ipython_display_()


def test_it_loads_no_torch() -> None:
    code = "import sys; from saekit_widgets import FeatureBrowser; assert not {'torch', 'saekit'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_absent_panels_and_signed_codes_travel(made) -> None:
    assert set(ask(made, "feature", latent=ABSENT)[0]["view"]["absent"]) >= {"histogram", "logits"}
    view, (numbers,) = ask(made, "feature", latent=SIGNED)
    assert view["view"]["minimum"] < 0 and np.nanmin(np.frombuffer(numbers, "<f4")) < 0


def test_exporting_leaves_the_collector_as_it_was(tmp_path, store, monkeypatch) -> None:
    for on in (True, False):
        (gc.enable if on else gc.disable)()
        try:
            browser_of(store).export_html(tmp_path / "f.html", features=[1, 2])
            assert gc.isenabled() == on
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                patch.setattr(store, "view", stop)
                browser_of(store).export_html(tmp_path / "f.html", features=[1, 2])
            assert gc.isenabled() == on
        finally:
            gc.enable()


def stop(latent: int) -> None:
    raise KeyboardInterrupt
