"""The Transformer against plain arithmetic, and what padding may not do."""

import math
from typing import cast

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError
from torch import Tensor, nn

from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.transformer import Transformer, TransformerNetwork

WORDS, TOKENS, CLASSES = 30, 25, 3
LENGTHS = [4, 9, 1, 7, 9, 2]
SMALL = Transformer(width=8, heads=2, layers=2, feedforward=12, dropout=0.0)


@pytest.fixture(scope="module")
def network() -> TransformerNetwork:
    torch.manual_seed(0)
    built = SMALL.build(CLASSES, (TOKENS, WORDS))
    assert isinstance(built, TransformerNetwork)
    for parameter in built.parameters():  # biases and norms of their own too, so that each counts
        nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        built.encoder.embedding.weight[0] = 0.0
    return built.double().eval()


@pytest.fixture(scope="module")
def batch() -> Tensor:
    """Rows of different lengths, neither sorted nor all shorter than the row."""
    tokens = torch.randint(1, WORDS, (len(LENGTHS), 9), generator=torch.Generator().manual_seed(1))
    for row, length in zip(tokens, LENGTHS, strict=True):
        row[length:] = 0
    return tokens.to(torch.int32)


def by_hand(network: TransformerNetwork, tokens: list[int]) -> Tensor:
    """Logits of one text without padding, from the definitions: softmax(q k^T / sqrt(d)) v, head by head."""
    encoder = network.encoder

    def norm(x: Tensor, layer: nn.LayerNorm) -> Tensor:
        centered = x - x.mean(dim=1, keepdim=True)
        return centered / (centered.square().mean(dim=1, keepdim=True) + layer.eps).sqrt() * layer.weight + layer.bias

    x = encoder.embedding.weight[tokens] + encoder.position.weight[: len(tokens)]
    for layer in encoder.layers:
        assert isinstance(layer, nn.TransformerEncoderLayer)
        attention = layer.self_attn
        q, k, v = (norm(x, layer.norm1) @ attention.in_proj_weight.T + attention.in_proj_bias).split(8, dim=1)
        heads = []
        for own in (slice(0, 4), slice(4, 8)):
            weights = ((q[:, own] @ k[:, own].T) / math.sqrt(4)).exp()
            heads.append(weights / weights.sum(dim=1, keepdim=True) @ v[:, own])
        x = x + torch.cat(heads, dim=1) @ attention.out_proj.weight.T + attention.out_proj.bias
        hidden = F.gelu(norm(x, layer.norm2) @ layer.linear1.weight.T + layer.linear1.bias)
        x = x + hidden @ layer.linear2.weight.T + layer.linear2.bias
    logits: Tensor = network.classifier(norm(x, encoder.norm).mean(dim=0))
    return logits


@torch.no_grad()
def test_a_padded_batch_gives_what_each_text_gives_alone(network: TransformerNetwork, batch: Tensor) -> None:
    for row, length, own in zip(batch, LENGTHS, network(batch), strict=True):
        torch.testing.assert_close(own, by_hand(network, row[:length].tolist()), rtol=0, atol=1e-12)


def test_training_computes_the_same_without_dropout(network: TransformerNetwork, batch: Tensor) -> None:
    """torch takes another way in evaluation mode without gradients."""
    in_training = network.train()(batch)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(batch), in_training, rtol=0, atol=1e-12)


@torch.no_grad()
def test_padding_changes_nothing(network: TransformerNetwork, batch: Tensor) -> None:
    logits = network(batch)
    wider = torch.cat([batch, torch.zeros(len(batch), TOKENS - 9, dtype=batch.dtype)], dim=1)
    torch.testing.assert_close(network(wider), logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(network(batch[2:3, :1]), logits[2:3], rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_order_of_the_words_counts(network: TransformerNetwork, batch: Tensor) -> None:
    changed = batch.clone()
    changed[1] = batch[1].flip(0)
    assert not torch.allclose(network(changed)[1], network(batch)[1])


@torch.no_grad()
def test_a_text_without_tokens_has_logits_of_its_own(network: TransformerNetwork, batch: Tensor) -> None:
    empty = torch.zeros(2, 9, dtype=torch.int32)
    logits = network(torch.cat([empty, batch]))
    torch.testing.assert_close(logits[:2], by_hand(network, [0]).expand(2, -1), rtol=0, atol=1e-12)
    torch.testing.assert_close(logits[2:], network(batch), rtol=0, atol=1e-12)


def test_padding_is_never_learnt_and_layers_start_apart(batch: Tensor) -> None:
    torch.manual_seed(0)
    network = SMALL.build(CLASSES, (TOKENS, WORDS)).train()
    assert isinstance(network, TransformerNetwork)
    first, second = (cast(nn.TransformerEncoderLayer, layer) for layer in network.encoder.layers)
    assert not torch.equal(first.linear1.weight, second.linear1.weight)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    with_empty = torch.cat([batch, torch.zeros(1, 9, dtype=torch.int32)])
    F.cross_entropy(network(with_empty), torch.arange(7) % CLASSES).backward()
    optimizer.step()
    assert not network.encoder.embedding.weight[0].any()


def test_the_default_has_this_many_parameters() -> None:
    attention, feedforward, norm = 4 * (64 * 64 + 64), 64 * 256 + 256 + 256 * 64 + 64, 2 * 64
    layer = attention + feedforward + 2 * norm
    network = Transformer().build(2, (100, 25_002))
    assert count_parameters(network) == (25_002 + 100) * 64 + 2 * layer + norm + 64 * 2 + 2


def test_embeddings_start_small_as_berts_and_a_tenth_is_dropped() -> None:
    torch.manual_seed(0)
    network = Transformer().build(2, (100, 2000))
    assert isinstance(network, TransformerNetwork)
    for embedding in (network.encoder.embedding, network.encoder.position):
        drawn = embedding.weight[1:]  # the first one of the words is padding's
        assert drawn.std().item() == pytest.approx(0.02, rel=0.05) and abs(drawn.mean().item()) < 0.001
    assert {module.p for module in network.modules() if isinstance(module, nn.Dropout)} == {0.1}
    assert {layer.self_attn.dropout for layer in network.encoder.layers} == {0.1}  # type: ignore[union-attr]
    seen: list[Tensor] = []
    network.encoder.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network.train()(torch.randint(1, 2000, (8, 100)))
    assert (seen[0] == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadInput, match=r"model transformer fits texts .* not inputs of shape \(1, 28, 28\)"):
        Transformer().build(10, (1, 28, 28))
    with pytest.raises(ValidationError, match="heads 3 must divide width 64"):
        Transformer(heads=3)
