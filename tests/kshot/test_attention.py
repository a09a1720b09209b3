"""SNAIL and the transformer against PyTorch's own layers, and their two views of a sequence against each other."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kshot import Episodes
from kshot.black_box import presentations
from kshot.causal import DenseBlock, Layer
from kshot.learners.attention import SNAIL, InContextTransformer

WAYS = 3


def task(generator, shots=4):
    """Two tasks in five dimensions: support_x, support_y and three queries each."""
    x = torch.randn(2, shots + 3, 5, generator=generator, dtype=torch.float64)
    return x[:, :shots], torch.randint(WAYS, (2, shots), generator=generator), x[:, shots:]


def test_dense_block_is_a_dilated_convolution(generator):
    block = DenseBlock(4, dilation=2, filters=3).double()
    x = torch.randn(2, 9, 4, generator=generator, dtype=torch.float64)
    kernel = block.convolution.weight.unflatten(1, (2, 4)).mT  # [out, in, (t - 2, t)]
    both = F.conv1d(F.pad(x.mT, (2, 0)), kernel, block.convolution.bias, dilation=2).mT
    assert torch.allclose(block(x)[..., 4:], both[..., :3].tanh() * both[..., 3:].sigmoid(), atol=1e-12)


@pytest.fixture
def snail():
    return SNAIL(inputs=5, ways=WAYS, shots=2, filters=8).double()


def snail_sequence(learner, tokens):
    """The plain SNAIL: every block over the whole sequence, the answer at its end."""
    for block in learner.blocks:
        tokens = block(tokens)
    return learner.out(tokens)


@pytest.mark.parametrize("shots", [1, 4, 9])
def test_snail_is_the_end_of_the_whole_sequence(shots, snail, generator):
    support_x, support_y, query_x = task(generator, shots)
    logits = snail(support_x, support_y, query_x)
    for t in range(2):
        pairs = torch.cat([support_x[t], F.one_hot(support_y[t], WAYS)], -1)
        for q in range(3):
            query = F.pad(query_x[t, q], (0, WAYS))
            expected = snail_sequence(snail, torch.cat([pairs, query[None]])[None])[0, -1]
            assert torch.allclose(logits[t, q], expected, atol=1e-12)


def test_snail_attention_is_over_the_keys(snail, generator):
    x, y, queries = task(generator)
    looks = snail.attention(x, y, queries)
    assert len(looks) == 3
    for look in looks:
        assert look.shape == (2, 3, 5) and look.min() >= 0
        assert torch.allclose(look.sum(-1), torch.ones(2, 3).double())  # a row is one query's
        assert not torch.allclose(look.sum(1), look.sum(1).mean().expand(2, 5), atol=1e-3)


def unchanged_before(outputs, changed, t):
    """Whether two outputs [T, L, *] agree before position t and differ from it on."""
    return torch.equal(outputs[:, :t], changed[:, :t]) and not torch.allclose(outputs[:, t], changed[:, t])


def test_snail_is_causal_and_reaches_back_to_the_first_item(snail, generator):
    tokens = torch.randn(2, 7, 5 + WAYS, generator=generator, dtype=torch.float64)
    outputs = snail_sequence(snail, tokens)
    for t in range(7):
        changed = tokens.clone()
        changed[:, t] += 1
        assert unchanged_before(outputs, snail_sequence(snail, changed), t)
    convolutions = nn.Sequential(*(block for block in snail.blocks[1:4]))  # one temporal convolution: reach 8 >= 7
    narrow = torch.randn(1, 7, snail.blocks[1].convolution.in_features // 2, generator=generator).double()
    moved = narrow.clone()
    moved[:, 0] += 1
    assert not torch.allclose(convolutions(narrow)[:, -1], convolutions(moved)[:, -1])


def test_layer_is_pytorchs_encoder_layer(generator):
    layer = Layer(8, heads=2).double()
    peer = nn.TransformerEncoderLayer(8, 2, 32, 0.0, F.gelu, batch_first=True, norm_first=True).double()
    ours = {"self_attn.in_proj_": layer.qkv, "self_attn.out_proj.": layer.mix, "linear1.": layer.widen}
    ours |= {"linear2.": layer.narrow, "norm1.": layer.norm, "norm2.": layer.norm_2}
    peer.load_state_dict(
        {f"{to}{kind}": getattr(part, kind) for to, part in ours.items() for kind in ("weight", "bias")}
    )
    x = torch.randn(2, 5, 8, generator=generator, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    assert torch.allclose(layer(x)[0], peer(x, src_mask=mask), atol=1e-12)


@pytest.fixture
def transformer():
    learner = InContextTransformer(5, 2, layers=2, width=16, points=9).double()
    with torch.no_grad():
        learner.position.normal_(generator=torch.Generator().manual_seed(2))  # so that places matter
    return learner


def test_the_cached_prompt_equals_the_whole_sequence(transformer, generator):
    x, y = (torch.randn(3, 9, size, generator=generator, dtype=torch.float64) for size in (5, 2))
    stream = presentations(transformer, x, y)
    for t in range(1, 9):
        context = transformer.adapt(x[:, :t], y[:, :t])
        assert context.h[0][0].shape == (3, 2, 2 * t, 8)  # the context: keys of x_1, y_1, ..., x_t, y_t
        assert torch.allclose(transformer.predict(context, x[:, t : t + 1]), stream[:, t : t + 1], atol=1e-12)
    together = transformer(x[:, :4], y[:, :4], x[:, 4:])  # five queries that do not see each other
    each = [transformer(x[:, :4], y[:, :4], x[:, q : q + 1]) for q in range(4, 9)]
    assert torch.allclose(together, torch.cat(each, 1), atol=1e-12)
    losses = transformer.losses(Episodes(x[:, :4], y[:, :4], x[:, 4:], y[:, 4:]))
    assert torch.allclose(losses, (stream - y).square().mean((1, 2)))
    losses.sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in transformer.parameters())


def test_the_transformer_is_causal(transformer, generator):
    x, y = (torch.randn(3, 6, size, generator=generator, dtype=torch.float64) for size in (5, 2))
    stream = presentations(transformer, x, y)
    for t in range(5):
        moved_x, moved_y = x.clone(), y.clone()
        moved_x[:, t] += 1
        moved_y[:, t] += 1
        assert unchanged_before(stream, presentations(transformer, moved_x, y), t)
        assert unchanged_before(stream, presentations(transformer, x, moved_y), t + 1)  # y_t is not its own input


def test_more_points_than_positions_are_refused(transformer, generator):
    x, y = (torch.randn(1, 10, size, generator=generator, dtype=torch.float64) for size in (5, 2))
    assert transformer(x[:, :8], y[:, :8], x[:, 8:]).shape == (1, 2, 2)
    with pytest.raises(ValueError, match="points=9 pairs, the query included, but this one has 10"):
        transformer(x[:, :9], y[:, :9], x[:, 9:])
    with pytest.raises(ValueError, match="points=9"):
        presentations(transformer, x, y)
    with pytest.raises(ValueError, match="multiple of heads, but width=64 and heads=3"):
        InContextTransformer(5, heads=3)
