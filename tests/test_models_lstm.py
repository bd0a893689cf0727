"""The LSTM against torch's own on single sequences, and what padding may not do."""

import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.lstm import LSTM, LSTMNetwork

WORDS, TOKENS, CLASSES = 30, 9, 3
LENGTHS = [4, 9, 1, 7, 9, 2]


@pytest.fixture(scope="module")
def network() -> LSTMNetwork:
    torch.manual_seed(0)
    built = LSTM(embedding=5, cell=4).build(CLASSES, (TOKENS, WORDS))
    assert isinstance(built, LSTMNetwork)
    return built.double().eval()


@pytest.fixture(scope="module")
def batch() -> Tensor:
    """Rows of different lengths, neither sorted nor all shorter than the row."""
    tokens = torch.randint(1, WORDS, (len(LENGTHS), TOKENS), generator=torch.Generator().manual_seed(1))
    for row, length in zip(tokens, LENGTHS, strict=True):
        row[length:] = 0
    return tokens.to(torch.int32)


def by_torch(network: LSTMNetwork, tokens: list[int]) -> Tensor:
    """Logits of one text by plain torch.nn.LSTMs, a direction and a layer at a time, without padding or packing."""
    weights = network.encoder.lstm.state_dict()
    x = network.encoder.embedding.weight[tokens]
    ends = []
    for layer in range(2):
        outputs = []
        for direction, suffix in (("forward", ""), ("backward", "_reverse")):
            single = nn.LSTM(x.shape[1], 4).double()
            single.load_state_dict(
                {name: weights[name.replace("_l0", f"_l{layer}{suffix}")] for name in single.state_dict()}
            )
            output, _ = single(x if direction == "forward" else x.flip(0))
            ends.append(output[-1])
            outputs.append(output if direction == "forward" else output.flip(0))
        x = torch.cat(outputs, dim=1)
    logits: Tensor = network.classifier(torch.cat(ends[-2:]))
    return logits


@torch.no_grad()
def test_a_padded_batch_gives_what_each_text_gives_alone(network: LSTMNetwork, batch: Tensor) -> None:
    logits = network(batch)
    for row, length, own in zip(batch, LENGTHS, logits, strict=True):
        torch.testing.assert_close(own, by_torch(network, row[:length].tolist()), rtol=0, atol=1e-12)


@torch.no_grad()
def test_padding_changes_nothing(network: LSTMNetwork, batch: Tensor) -> None:
    logits = network(batch)
    wider = torch.cat([batch, torch.zeros(len(batch), 20, dtype=batch.dtype)], dim=1)
    torch.testing.assert_close(network(wider), logits, rtol=0, atol=1e-12)
    torch.testing.assert_close(network(batch[2:3, :1]), logits[2:3], rtol=0, atol=1e-12)


@torch.no_grad()
def test_the_end_of_a_text_counts(network: LSTMNetwork, batch: Tensor) -> None:
    changed = batch.clone()
    changed[0, 3] = (changed[0, 3] + 1) % (WORDS - 1) + 1
    assert not torch.allclose(network(changed)[0], network(batch)[0])
    assert torch.allclose(network(changed)[1:], network(batch)[1:])


@torch.no_grad()
def test_a_text_without_tokens_has_logits_of_its_own(network: LSTMNetwork, batch: Tensor) -> None:
    empty = torch.zeros(2, TOKENS, dtype=torch.int32)
    logits = network(torch.cat([empty, batch]))
    assert logits.isfinite().all() and torch.equal(logits[0], logits[1])
    torch.testing.assert_close(logits[0], by_torch(network, [0]), rtol=0, atol=1e-12)
    torch.testing.assert_close(logits[2:], network(batch), rtol=0, atol=1e-12)


def test_padding_is_never_learnt(batch: Tensor) -> None:
    torch.manual_seed(0)
    network = LSTM(embedding=5, cell=4).build(CLASSES, (TOKENS, WORDS)).train()
    assert isinstance(network, LSTMNetwork)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, weight_decay=0.1)
    with_empty = torch.cat([batch, torch.zeros(1, TOKENS, dtype=torch.int32)])
    nn.functional.cross_entropy(network(with_empty), torch.arange(7) % CLASSES).backward()
    optimizer.step()
    assert not network.encoder.embedding.weight[0].any()


def test_the_papers_network_has_this_many_parameters() -> None:
    layer1 = 2 * (4 * 70 * (128 + 70) + 2 * 4 * 70)
    layer2 = 2 * (4 * 70 * (140 + 70) + 2 * 4 * 70)
    network = LSTM().build(2, (100, 25_002))
    assert count_parameters(network) == 25_002 * 128 + layer1 + layer2 + 140 * 2 + 2


def test_images_are_refused() -> None:
    with pytest.raises(BadInput, match=r"model lstm fits texts .* not inputs of shape \(1, 28, 28\)"):
        LSTM().build(10, (1, 28, 28))


IN_BFLOAT16 = """
import torch
from repro.models.lstm import LSTM

torch.manual_seed(0)
network = LSTM(embedding=5, cell=4).build(3, (9, 30))
tokens = torch.randint(0, 30, (6, 9))
exact = network(tokens)
with torch.autocast("cpu", torch.bfloat16):
    rounded = network(tokens).float()
rounded.sum().backward()
assert all(weight.grad.isfinite().all() for weight in network.parameters())
assert torch.backends.mkldnn.enabled
print(float((rounded - exact).abs().max()))
"""


@pytest.mark.slow
def test_it_runs_in_bfloat16_on_a_processor_without_avx512() -> None:
    older = os.environ | {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", IN_BFLOAT16], env=older, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert 1e-5 < float(done.stdout) < 0.02  # rounded to 8 bits, and no more
