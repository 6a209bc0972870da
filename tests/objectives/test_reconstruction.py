"""Objectives: the losses by hand, and where AuxK's gradient goes."""

from __future__ import annotations

import pytest
import torch
from saekit_kernels import using

from saekit.dictionaries import TopK, Wiring
from saekit.objectives import AUXK_WEIGHT, Batch, Rows, State, reconstruction, reconstruction_auxk, squared_error


def AUXK(x, target, dictionary, dead):
    return reconstruction_auxk(dictionary, Batch.of(x, target), State(dead=dead))


def PLAIN(x, target, dictionary, dead):
    return squared_error(dictionary, Batch.of(x, target))


def make(d: int = 16, d_sae: int = 24, k: int = 2, seed: int = 0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dictionary = TopK(d_sae=d_sae, k=k).build(Wiring("x"), {"x": d}).double()
        x = torch.randn(40, d).double()
        with torch.no_grad():
            dictionary.decoder_bias.copy_(torch.randn(d).double() * 0.1)
            dictionary.encoder_bias.copy_(torch.randn(d_sae).double() * 0.1)
    return dictionary, x


def chosen(d_sae: int, *latents: int) -> torch.Tensor:
    dead = torch.zeros(d_sae, dtype=torch.bool)
    dead[list(latents)] = True
    return dead


def gradients(dictionary, loss) -> dict[str, torch.Tensor]:
    dictionary.zero_grad()
    loss.total.backward()
    return {name.replace(".", "_"): p.grad.clone() for name, p in dictionary.named_parameters() if p.grad is not None}


def test_reconstruction_by_hand():
    dictionary = TopK(d_sae=2, k=1).build(Wiring("x"), {"x": 2})
    with torch.no_grad():
        dictionary.decoder_directions.copy_(torch.eye(2))
        dictionary.encoder_directions.copy_(torch.eye(2))
    x = torch.tensor([[3.0, 1.0], [-1.0, 2.0], [-1.0, -1.0]])  # z: 3 of latent 0; 2 of latent 1; nothing
    for objective in (PLAIN, AUXK):
        loss = objective(x, x, dictionary, torch.zeros(2, dtype=torch.bool))
        assert loss.error.tolist() == [1.0, 1.0, 2.0] and not loss.error.requires_grad
        assert float(loss.total.detach()) == pytest.approx((1 + 1 + 2) / 3 / 2)  # a dimension
        assert loss.codes.to_dense().tolist() == [[3, 0], [0, 2], [0, 0]]


def test_auxk_by_hand():
    """L + 1/32 · min(n_dead / k_aux, 1) · ‖e − ê‖² / d, ê from the k_aux strongest dead latents, without a bias."""
    dictionary, x = make()
    dead = chosen(24, 1, 4, 5, 9, 10, 11, 15, 16, 20, 21, 22, 23)  # 12 dead; k_aux = 8 = d / 2
    loss = AUXK(x, x, dictionary, dead)
    with torch.no_grad():
        residual = x - dictionary(x)
        u = (x - dictionary.decoder_bias) @ dictionary.encoder_directions.T + dictionary.encoder_bias
        u = u.masked_fill(~dead, float("-inf"))
        top = u.topk(8, dim=1)
        z = torch.zeros_like(u).scatter(1, top.indices, top.values.relu())
        missed = (residual - z @ dictionary.decoder_directions).square().sum(1).mean() / 16
        plain = residual.square().sum(1).mean() / 16
    assert AUXK_WEIGHT == 1 / 32
    assert float(loss.total.detach()) == pytest.approx(float(plain + missed / 32), rel=1e-12)


def test_fewer_dead_than_k_aux():
    dictionary, x = make()
    plain = float(PLAIN(x, x, dictionary, chosen(24)).total.detach())
    dead = chosen(24, 3, 7)
    with torch.no_grad():
        residual = x - dictionary(x)
        z = dictionary.pre_activations(x, torch.tensor([3, 7])).relu()
        missed = (residual - z @ dictionary.decoder_directions[[3, 7]]).square().sum(1).mean() / 16
    assert float(AUXK(x, x, dictionary, dead).total.detach()) == pytest.approx(
        plain + float(missed) / 32 * 2 / 8, rel=1e-12
    )
    for all_dead in (torch.ones(24, dtype=torch.bool), chosen(24, 0)):
        assert bool(torch.isfinite(AUXK(x, x, dictionary, all_dead).total))


def test_without_dead_latents_it_is_the_plain_loss():
    dictionary, x = make()
    none = chosen(24)
    assert torch.equal(AUXK(x, x, dictionary, none).total, PLAIN(x, x, dictionary, none).total)


def test_the_gradient_reaches_dead_latents():
    """A latent that the top-k never picks gets no gradient but AuxK's, in encoder, bias and decoder."""
    dictionary, x = make()
    with torch.no_grad():
        dictionary.encoder_bias[:22] += 20.0  # latents 22 and 23 are never among the two largest
    dead = chosen(24, 22, 23)
    plain = gradients(dictionary, PLAIN(x, x, dictionary, dead))
    aided = gradients(dictionary, AUXK(x, x, dictionary, dead))
    for name in ("encoder_directions", "encoder_bias", "decoder_directions"):
        assert bool((plain[name][22:] == 0).all()), name
        assert bool((aided[name][22:].abs() > 1e-9).any(-1).all()), name


def test_no_gradient_flows_through_the_residual():
    """AuxK moves nothing of the latents that are alive: their gradient is that of the plain loss."""
    dictionary, x = make()
    dead = chosen(24, 22, 23)
    with torch.no_grad():
        dictionary.encoder_bias[22:] -= 20.0
        dictionary.encoder_directions[22:] *= 100  # still positive on some tokens
        dictionary.encoder_bias[:22] += 1000.0
    plain = gradients(dictionary, PLAIN(x, x, dictionary, dead))
    aided = gradients(dictionary, AUXK(x, x, dictionary, dead))
    for name in ("encoder_directions", "encoder_bias", "decoder_directions"):
        torch.testing.assert_close(plain[name][:22], aided[name][:22], rtol=1e-12, atol=1e-12, msg=name)
        assert not torch.equal(plain[name][22:], aided[name][22:]), name


def test_a_token_that_is_rebuilt_exactly_does_not_take_over():
    """Were the residual's share taken token by token, one with e = 0 would outweigh all others a million times."""
    dictionary = TopK(d_sae=4, k=1).build(Wiring("x"), {"x": 4}).double()
    with torch.no_grad():
        dictionary.decoder_directions.copy_(torch.eye(4))
        dictionary.decoder_directions[3] = torch.tensor([0.5, 0.5, 0.5, 0.5])
        dictionary.encoder_directions.copy_(dictionary.decoder_directions)
    # errors 0, 4, 4 of 9 + 16 + 16; the dead latent answers with 1.5, 3, 3 along its direction
    x = torch.tensor([[3.0, 0, 0, 0], [0, 4, 2, 0], [2, 0, 4, 0]]).double()
    loss = AUXK(x, x, dictionary, chosen(4, 3))
    assert loss.error.tolist() == [0, 4, 4]
    missed = [1.5**2, 4 - 2 * 3 * 1 + 3**2, 4 - 2 * 3 * 1 + 3**2]  # ‖e‖² − 2 z e·d + z²
    k_aux = 2
    assert float(loss.total.detach()) == pytest.approx(8 / 12 + sum(missed) / 12 / 32 * 1 / k_aux, rel=1e-12)


# -- which tokens and which of the dead take part ----------------------------------------------------------------------


def many(n: int = 1026):
    """So many tokens that AuxK takes a quarter, for the dictionary of ``make``."""
    dictionary, _ = make()
    return dictionary, torch.randn(n, 16, generator=torch.Generator().manual_seed(3)).double()


def missed_by_hand(dictionary, x, latents, k) -> torch.Tensor:
    """‖e − ê‖² of each token."""
    with torch.no_grad():
        u = dictionary.pre_activations(x, latents)
        top = u.topk(k, dim=1)
        z = torch.zeros_like(u).scatter(1, top.indices, top.values.relu())
        return (x - dictionary(x) - z @ dictionary.decoder_directions[latents]).square().sum(1)


WAYS = {"fused": {}, "row gradient": {"row_gradient": True}, "plain": {}}


@pytest.mark.parametrize("way", WAYS)
def test_each_step_takes_every_fourth_token_and_four_take_all(way):
    """Tokens t, t + 4, … at step t, each four times: the mean over four steps is that over all tokens."""
    dictionary, x = many()
    dead = torch.tensor([1, 4, 5, 9, 10, 11, 15, 16, 20, 21])  # k_aux = 8
    missed = missed_by_hand(dictionary, x, dead, 8)
    plain = float(PLAIN(x, x, dictionary, None).total.detach())
    extra = []
    with using("reference" if way == "plain" else "auto"):
        for step in range(5):
            state = State(step=step, dead=chosen(24, *dead.tolist()), n_dead=10, **WAYS[way])
            extra.append(float(reconstruction_auxk(dictionary, Batch.of(x), state).total.detach()) - plain)
            assert extra[step] == pytest.approx(4 * float(missed[step % 4 :: 4].sum()) / 1026 / 16 / 32, rel=1e-9)
    assert sum(extra[:4]) / 4 == pytest.approx(float(missed.mean()) / 16 / 32, rel=1e-9)
    assert extra[4] == pytest.approx(extra[0], rel=1e-9) and len({round(each, 9) for each in extra}) == 4


@pytest.mark.parametrize("way", WAYS)
def test_of_many_dead_each_step_takes_the_next(way, monkeypatch):
    """8 of 12, by rank: 0–7, then 8–11 and 0–3, then 4–11, and again."""
    monkeypatch.setattr(reconstruction, "AUXK_DEAD", 1)
    dictionary, x = many(300)
    dead = [1, 4, 5, 9, 10, 11, 15, 16, 20, 21, 22, 23]
    expected = {0: dead[:8], 1: dead[8:] + dead[:4], 2: dead[4:], 3: dead[:8]}
    plain = float(PLAIN(x, x, dictionary, None).total.detach())
    for step, latents in expected.items():
        with using("reference" if way == "plain" else "auto"):
            loss = reconstruction_auxk(
                dictionary, Batch.of(x), State(step=step, dead=chosen(24, *dead), n_dead=12, **WAYS[way])
            )
        missed = missed_by_hand(dictionary, x, torch.tensor(latents), 8)
        assert float(loss.total.detach()) == pytest.approx(plain + float(missed.mean()) / 16 / 32, rel=1e-9)


@pytest.mark.parametrize(("n", "every"), [(511, 1), (512, 2), (767, 2), (768, 3), (1023, 3), (1024, 4), (1300, 4)])
def test_no_fewer_tokens_than_256(n, every):
    """While there are as many: of 511 all; step 5 takes of 512 those from 1 on by two, of 768 from 2 on by three."""
    dictionary, x = many(n)
    loss = reconstruction_auxk(dictionary, Batch.of(x), State(step=5, dead=chosen(24, *range(8))))
    missed = missed_by_hand(dictionary, x, torch.arange(8), 8)[5 % every :: every]
    assert len(missed) >= 256 and len(missed) <= max(511, n // 4 + 1)
    plain = float(PLAIN(x, x, dictionary, None).total.detach())
    assert float(loss.total.detach()) == pytest.approx(plain + every * float(missed.sum()) / n / 16 / 32, rel=1e-9)


def test_rows_of_text_are_taken_whole():
    """Their tokens are neighbours, and not shuffled."""
    dictionary, x = many(1032)
    rows = {"x": x.view(6, 172, 16)}
    batch = Batch(rows, rows, Rows(*3 * [torch.ones(6, 172, dtype=torch.bool)]))
    loss = reconstruction_auxk(dictionary, batch, State(step=1, dead=chosen(24, *range(8))))
    missed = missed_by_hand(dictionary, x, torch.arange(8), 8)
    plain = float(PLAIN(x, x, dictionary, None).total.detach())
    assert float(loss.total.detach()) == pytest.approx(plain + float(missed.mean()) / 16 / 32, rel=1e-9)


@pytest.mark.parametrize("parts", [2, 3, 4, 70])
@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_processes_take_the_tokens_of_one_and_about_as_many_each(parts, step):
    """Shares of a batch of 1,026, down to 14 tokens: what AuxK takes is decided by the whole of it."""
    dictionary, x = many()
    dead = chosen(24, 1, 4, 5, 9, 10, 11, 15, 16, 20, 21)
    whole = gradients(dictionary, reconstruction_auxk(dictionary, Batch.of(x), State(step=step, dead=dead)))
    summed = {name: torch.zeros_like(g) for name, g in whole.items()}
    for number in range(parts):
        first, end = 1026 * number // parts, 1026 * (number + 1) // parts
        state = State(step=step, dead=dead, part=(first, 1026))
        of_part = gradients(dictionary, reconstruction_auxk(dictionary, Batch.of(x[first:end]), state))
        for name, g in of_part.items():
            summed[name] += g * (end - first) / 1026
    for name, g in whole.items():
        torch.testing.assert_close(summed[name], g, rtol=1e-9, atol=1e-12, msg=name)


def test_the_number_of_the_dead_is_counted_where_it_is_not_known():
    dictionary, x = many()
    dead = chosen(24, 1, 4, 5)
    known, counted = (reconstruction_auxk(dictionary, Batch.of(x), State(dead=dead, n_dead=n)).total for n in (3, None))
    assert torch.equal(known, counted)
