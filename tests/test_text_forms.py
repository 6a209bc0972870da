"""Every public result as text: in a script (print), in a list (repr) and beside what a notebook draws (text/plain).

At most 25 lines of 100 columns and 3 kB, no bare dump of fields, and nothing that a terminal would obey.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import pytest
import torch
from graphs import hand_made

import saekit as sk
from saekit.corpora import Document, Span

LINES, COLUMNS, CHARACTERS = 25, 100, 3_000
S = "blocks.2.hook_resid_post"
HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202eevil\u202c\x9b2J"
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def shell() -> Any:
    return pytest.importorskip("IPython.core.interactiveshell").InteractiveShell.instance()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the calls of the README and of the notebooks give, and their siblings; text with escape sequences in it."""
    folder = tmp_path_factory.mktemp("text_forms")
    model = sk.load_model("micro", device="cpu")
    corpus, heldout = sk.load_corpus("microworld"), sk.load_corpus("microworld", split="heldout", n=190)
    methods = [sk.TopK(d_sae=256, k=8), sk.BatchTopK(d_sae=192, k=4)]
    quiet = {"callback": lambda _: None}
    run = sk.train(model, S, methods, corpus, tokens=6_000, out=folder / "run", **quiet)
    sae = run.dictionaries[0]
    hostile = [f"{text}: {HOSTILE}" for text in ("Anna gave Peter the book", "The capital of France is Paris")]
    own = [*heldout, *(Document(text, kind=HOSTILE, spans=(Span(0, 4, HOSTILE),)) for text in hostile * 40)]
    store = sk.FeatureStore.build(model, sae, own, folder / "store", tokens=9_000)
    first = int(store.sql("select latent from latents order by firings desc limit 1").latent[0])
    dead = store.sql("select latent from latents where firings = 0").latent
    store.set_label(first, label=HOSTILE, note=HOSTILE, star=True)
    acts = sk.activations.harvest(model, list(heldout), S, tokens=500)
    proposals = store.propose(first)
    graph = hand_made(about={"prompt": HOSTILE}, labels={"1_4_1": HOSTILE}, target_strings={"3_200_1": HOSTILE})
    report = sk.evaluate(model, sae, heldout, tokens=3_000, ce_tokens=200)
    long = sk.train(torch.randn(300, 24), None, [sk.TopK(d_sae=32, k=2)] * 9, tokens=300, **quiet)
    names = [f"blocks.{layer}.hook_resid_post" for layer in range(40)]
    layers = {name: torch.randn(30, 24) for name in names}
    anywhere = sk.TopK(d_sae=32, k=2).build(sk.Wiring(names, each=True), dict.fromkeys(names, 24)).requires_grad_(False)
    kept = sk.activations.ActivationStore.build(model, hostile * 5, S, folder / "activations", tokens=100)
    found = {
        "model": model,
        "corpus": corpus,
        "own corpus": sk.load_corpus(own),
        "document": own[-1],
        "pairs": sk.load_pairs("ioi", n=20),
        "run": run,
        "run of many": long,
        "run that is open": sk.Run.open(folder / "run"),
        "dictionary": sae,
        "provenance": sae.provenance,
        "provenance of arrays": long.dictionaries[0].provenance,
        "wiring": sae.wiring,
        "methods": sk.methods(),
        "sites": sk.models.sites_of(model),
        "report": report,
        "report of arrays": sk.evaluate(acts.flat(S), sae),
        "matches": report.concepts,
        "numbers": report.numbers,
        "sparse": report.sparse,
        "recovered": report.recovered,
        "lens": sk.metrics.logit_lens(model, sae, list(range(20))),
        "layers of latents": sk.metrics.latent_layers(layers, anywhere),
        "groups of layers": sk.metrics.layer_groups(layers),
        "activations": acts,
        "rows": acts.rows,
        "codes": sae.encode(acts.flat(S)),
        "activation store": kept,
        "before and after": sk.before_and_after(
            model, sk.Edit(sae, latent=first, mode="ablate"), f"Anna {HOSTILE} gave"
        ),
        "explanations of all": store.explain_all({"density": [0.2, None]}, n=5),
        "edit": sk.Edit(sae, latent=3, mode="ablate"),
        "edit by a vector": sk.Edit(sae.decoder_directions[:2], site=S, strength=2),
        "store": store,
        "card": store.feature(first),
        "examples": store.examples(first),
        "near examples": store.examples(first, "near"),
        "proposals": proposals,
        "proposal": proposals[0],
        "predicate": proposals[0].predicate,
        "score": store.explain(first, proposals[0].predicate, n=10),
        "windows": store.windows(first),
        "held out": store.held_out(first, n=4),
        "labels": store.labels,
        "features on a prompt": sk.features_on(model, sae, f"Anna gave {HOSTILE} to Peter, who went home " * 2),
        "browser": sk.FeatureBrowser(store, model=model),
        "tokens": sk.tokens_view([HOSTILE, "b"], [0, 1.0]),
        "graph": graph,
        "pruned graph": graph.prune(nodes=0.6),
        "scores of a graph": graph.scores,
        "columns of a graph": [graph.node_columns, graph.edge_columns],
        "graphs compared": sk.circuits.compared(graph, graph.prune(nodes=0.6)),
        **{
            name: getattr(store, name)(first)
            for name in ("histogram", "logits", "neighbours", "concepts", "loss_effect")
        },
    }
    if len(dead):
        found |= {"dead card": store.feature(int(dead[0])), "dead histogram": store.histogram(int(dead[0]))}
    return found


def columns(line: str) -> int:
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


def test_every_result_is_short_in_a_script_and_in_a_notebook(results: dict[str, Any], shell: Any) -> None:
    complaints = []
    for name, value in results.items():
        for kind, text in {
            "str": str(value),
            "repr": repr(value),
            "text/plain": shell.display_formatter.format(value)[0]["text/plain"],
        }.items():
            lines = text.splitlines()
            if len(lines) > LINES or len(text) > CHARACTERS:
                complaints.append(f"{kind} of {name}: {len(lines)} lines, {len(text):,} characters")
            if OBEYED.search(text):
                complaints.append(f"{kind} of {name} holds {OBEYED.findall(text)[:3]}")
            if re.search(r"tensor\(\[|array\(\[|<\S+ object at 0x", text):
                complaints.append(f"{kind} of {name} is a dump: {text[:80]!r}")
    assert not complaints, "\n".join(complaints)


TABLES = ["report", "card", "examples", "near examples", "proposals", "windows", "logits", "neighbours", "matches",
          "concepts", "histogram", "sites", "lens", "run", "report of arrays", "model"]  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_what_is_read_over_ssh_fits_a_terminal(results: dict[str, Any], name: str) -> None:
    for line in str(results[name]).splitlines():
        assert columns(line) <= COLUMNS, line


def test_a_report_says_its_numbers_beside_what_they_are_read_and_where_the_rest_is(results: dict[str, Any]) -> None:
    report, text = results["report"], repr(results["report"])
    assert len(text.splitlines()) <= 15 and str(report) == text
    assert text.splitlines()[0].startswith("Report on microworld/heldout")
    for number in report.numbers:
        assert number.name in text
    assert "of 256 latents" in text and "nats: clean" in text and "zero ablation" in text
    assert "report.frame()" in text and "report.concepts.frame()" in text
    assert len(report.text().splitlines()) > len(text.splitlines()), "the whole of it, to be sent to others"


def test_a_model_says_what_it_is(results: dict[str, Any]) -> None:
    from transformer_lens.model_bridge import TransformerBridge

    model, text = results["model"], repr(results["model"])
    assert isinstance(model, TransformerBridge) and str(model) == text and len(text.splitlines()) <= 5
    for said in ("micro", "ships with saekit", "4 layers", "width 128", "vocabulary 4096", "cpu", "float32",
                 model.model_hash[:12], "BOS '<|endoftext|>'", "print(model.original_model)"):  # fmt: skip
        assert said in text


def test_a_run_says_how_far_it_is_and_how_good(results: dict[str, Any]) -> None:
    text = str(results["run"])
    for said in ("5,120 counted tokens of microworld/train", "seed 0", "TopK(d_sae=256", "BatchTopK(d_sae=192",
                 "explained variance", "L0", "dead ", " of 256 (", "run.metrics"):  # fmt: skip
        assert said in text, text
    assert "… 4 more dictionaries" in str(results["run of many"])
    assert str(sk.Run([], [{"tokens": 512}], None, finished=False)).startswith("Run, not finished")


def test_examples_stand_with_their_peaks_in_one_column(results: dict[str, Any]) -> None:
    for name in ("examples", "windows", "card"):
        marked = [line for line in str(results[name]).splitlines() if "«" in line]
        assert len(marked) >= 2 and len({columns(line[: line.index("«")]) for line in marked}) == 1
    assert any("⟨001B⟩" in str(results[name]) for name in ("card", "features on a prompt")), "shown as its code"


def test_proposals_are_a_list_and_draw_themselves(results: dict[str, Any]) -> None:
    proposals = results["proposals"]
    assert isinstance(proposals, list) and repr(proposals).count("\n") >= len(proposals)
    for proposal in proposals:
        assert str(proposal.predicate)[:20] in repr(proposals).replace("\n" + " " * 26, " ")
    assert "<table>" in proposals._repr_html_() and "f1" in proposals._repr_html_()
