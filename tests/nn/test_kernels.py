"""The project's own kernels against PyTorch's: same results, other speed."""

import copy
import ctypes
import subprocess
import sys
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import zoo.ctr.autoint
import zoo.ctr.xdeepfm
from zoo import Batch, Field, Schema
from zoo.ctr.autoint import InteractingLayer
from zoo.ctr.xdeepfm import CompressedInteractionLayer
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.linear import HAS_ONEDNN, Linear, takes_onednn
from zoo.nn.mlp import deep_part
from zoo.nn.optim import Adagrad
from zoo.nn.row_sums import sum_by_row

of_torch_2_11 = pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly")


@of_torch_2_11
@given(st.data())
@settings(deadline=None, max_examples=40)
def test_sparse_steps_equal_dense_steps_of_torch(data):
    rows, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4))
    options = {
        "eps": data.draw(st.sampled_from([1e-13, 1e-3])),
        "lr": data.draw(st.sampled_from([0.01, 0.5])),
        "lr_decay": data.draw(st.sampled_from([0.0, 0.1])),
        "initial_accumulator_value": data.draw(st.sampled_from([0.0, 0.3])),
        "maximize": data.draw(st.booleans()),
    }
    ours, theirs = (torch.nn.Parameter(torch.ones(rows, width)) for _ in range(2))
    fast, reference = Adagrad([ours], **options), torch.optim.Adagrad([theirs], **options)
    for step in range(4):
        ids = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=40)))
        values = torch.randn(len(ids), width, generator=torch.Generator().manual_seed(step))
        ours.grad = torch.sparse_coo_tensor(ids[None], values, ours.shape, check_invariants=True)
        theirs.grad = torch.zeros(rows, width).index_add_(0, ids, values)
        fast.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@given(
    ids=st.lists(st.integers(0, 40), min_size=1, max_size=80),
    threshold=st.sampled_from([1, 1 << 15]),
    count=st.sampled_from([41, 2**31 + 41]),
)
@settings(deadline=None, max_examples=60)
def test_values_are_summed_by_row(ids, threshold, count):
    with mock.patch("zoo.nn.row_sums.RADIX_SORT_FROM", threshold):
        values = torch.randn(len(ids), 3, dtype=torch.double)
        offset = count - 41  # ids that need 64 bits where there are so many rows
        rows, sums = sum_by_row(torch.tensor(ids) + offset, values, count)
    assert (rows - offset).tolist() == sorted(set(ids))
    expected = torch.zeros(41, 3, dtype=torch.double).index_add_(0, torch.tensor(ids), values)
    torch.testing.assert_close(sums, expected[rows - offset])


@of_torch_2_11
def test_a_sparse_step_touches_the_rows_of_the_batch_alone():
    parameter = torch.nn.Parameter(torch.ones(1000, 2))
    parameter.grad = torch.sparse_coo_tensor(
        torch.tensor([[7, 3, 7]]), torch.ones(3, 2), parameter.shape, check_invariants=True
    )
    Adagrad([parameter], lr=0.1).step()
    assert (parameter != 1).any(1).nonzero().flatten().tolist() == [3, 7]


def test_the_kernel_of_the_step_is_chosen_by_the_device_not_by_the_checkpoint():
    of_cpu, elsewhere = (torch.nn.Parameter(torch.ones(2, device=d)) for d in ("cpu", "meta"))
    trained, resumed = Adagrad([of_cpu]), Adagrad([elsewhere])
    of_cpu.grad = torch.ones(2)
    trained.step()
    assert trained.param_groups[0]["fused"]
    resumed.load_state_dict(trained.state_dict())
    assert resumed.param_groups[0]["fused"]
    resumed.step()
    assert not resumed.param_groups[0]["fused"]


def test_first_steps_are_long_for_large_gradients_alone():
    parameter = torch.nn.Parameter(torch.zeros(3))
    parameter.grad = torch.tensor([1e-6, 1e-4, -1e-1])
    Adagrad([parameter], lr=0.01).step()
    # lr * g / sqrt(1e-8 + g^2)
    expected = torch.tensor([-1e-4, -0.01 / 2**0.5, 0.01])
    torch.testing.assert_close(parameter.data, expected, rtol=1e-3, atol=0)


def test_the_optimizer_runs_its_closure_and_gives_the_loss():
    parameter = torch.nn.Parameter(torch.tensor([[2.0]]))
    optimizer = Adagrad([parameter], lr=0.5)

    def closure():
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 4.0
    assert parameter.item() == pytest.approx(1.5)  # the first step is of length lr


@given(
    batch=st.integers(1, 40),
    inputs=st.integers(1, 20),
    outputs=st.integers(1, 20),
    bias=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_linear_equals_torch_with_its_gradients(batch, inputs, outputs, bias):
    torch.manual_seed(0)
    ours, theirs = Linear(inputs, outputs, bias), torch.nn.Linear(inputs, outputs, bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(batch, inputs)
    found, expected = [], []
    for layer, results in ((ours, found), (theirs, expected)):
        leaf = x.clone().requires_grad_()
        out = layer(leaf)
        (out**2).sum().backward()
        results += [out, leaf.grad, *(p.grad for p in layer.parameters())]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_the_deep_part_hides_no_nan(batch_norm):
    x = torch.randn(4, 3)
    x[1, 2] = torch.nan
    assert deep_part(3, [5, 2], 0.0, batch_norm).eval()(x).isnan().any(1).tolist() == [0, 1, 0, 0]


def values_and_gradients(function, *inputs):
    """What a function returns, and the gradients of all inputs of one scalar made from it."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    sum(out.double().pow(2).mul(i).sum() for i, out in enumerate(outputs, 1)).backward()
    return [*outputs, *(leaf.grad.to_dense() for leaf in leaves)]


@given(
    rows=st.integers(1, 7),
    numerical=st.integers(0, 3),
    embed_numerical=st.booleans(),
    first_order=st.booleans(),
    sparse=st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_the_embedding_equals_its_formula(rows, numerical, embed_numerical, first_order, sparse):
    torch.manual_seed(0)
    sizes = [4, 2, 5]
    fields = [Field(f"n{i}", "numerical") for i in range(numerical)]
    fields += [Field(f"c{i}", "categorical", size) for i, size in enumerate(sizes)]
    ids = torch.stack([torch.randint(size, (rows,)) for size in sizes], 1)
    label = torch.zeros(rows)
    embedding = FusedEmbedding(
        Schema(tuple(fields)), 3, embed_numerical, first_order, init_std=1.0
    ).double()
    embedding.sparse = sparse
    names, weights = zip(*embedding.named_parameters(), strict=True)

    def ours(x, *weights):
        module = copy.deepcopy(embedding)
        for name, weight in zip(names, weights, strict=True):
            delattr(module, name)
            setattr(module, name, weight)
        return tuple(module(Batch(numerical=x, categorical=ids, label=label)))

    def formula(x, *weights):
        weights = dict(zip(names, weights, strict=True))
        looked_up = weights["table"][ids + torch.tensor([0, 4, 6])]
        vectors, linear = looked_up[..., :3], x.new_zeros(rows)
        if "numerical_vectors" in weights:
            vectors = torch.cat((x[:, :, None] * weights["numerical_vectors"], vectors), 1)
        if first_order:
            linear = looked_up[..., 3].sum(1) + x @ weights["numerical_weight"]
        return vectors, linear, torch.cat((vectors.flatten(1), x), 1)

    x = torch.randn(rows, numerical).double()
    found, expected = (values_and_gradients(f, x, *weights) for f in (ours, formula))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("embed_numerical", [False, True])
def test_a_model_may_take_the_first_order_part_alone(embed_numerical):
    schema = Schema((Field("n", "numerical"), Field("c", "categorical", 3)))
    embedding = FusedEmbedding(schema, 2, embed_numerical)
    ids = torch.tensor([[1], [1], [2]])
    batch = Batch(numerical=torch.ones(3, 1), categorical=ids, label=torch.zeros(3))
    embedding(batch).linear.sum().backward()
    expected = torch.tensor([[0.0, 0, 0], [0, 0, 2], [0, 0, 1]])  # two vectors, one weight
    torch.testing.assert_close(embedding.table.grad, expected)
    assert embedding.numerical_weight.grad.item() == 3


@pytest.mark.parametrize("rows", [1, 4, 5, 11])
@pytest.mark.parametrize("residual", [True, False])
def test_an_interacting_layer_equals_attention_in_double_precision(monkeypatch, rows, residual):
    monkeypatch.setattr(zoo.ctr.autoint, "ROWS_PER_CHUNK", 4)
    torch.manual_seed(0)
    single = InteractingLayer(3, 12, 2, residual)  # narrow enough for the joined matrices
    torch.nn.init.normal_(single.weight, std=0.5)
    double = copy.deepcopy(single).double()
    x = torch.randn(rows, 5, 3)
    if takes_onednn(x, single.weight):
        monkeypatch.setattr(single, "_project", None)  # the joined matrices, not these
    found = values_and_gradients(single, x)
    expected = values_and_gradients(double, x.double())
    for a, b in zip([*found, single.weight.grad], [*expected, double.weight.grad], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7 * 3 * 4, 1 << 20])
def test_chunks_of_outer_products_add_up(monkeypatch, chunk):
    monkeypatch.setattr(zoo.ctr.xdeepfm, "NUMBERS_PER_CHUNK", chunk)
    torch.manual_seed(0)
    layer = CompressedInteractionLayer(3, 4, 6)
    names, weights = zip(*layer.named_parameters(), strict=True)
    inputs = torch.randn(17, 3), torch.randn(17, 4), *(w.detach() * 3 for w in weights)

    def ours(x, x0, *weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, x0))

    def plain(x, x0, weight, bias):
        maps = torch.einsum("rm,rf,hmf->rh", x, x0, weight.unflatten(1, (3, 4)))
        return torch.relu(maps + bias)

    found = values_and_gradients(ours, *inputs)
    assert 0 < (found[0] == 0).sum() < found[0].numel()
    doubles = [x.double() for x in inputs]
    for a, b in zip(found, values_and_gradients(plain, *doubles), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


def test_what_is_compiled_is_left_to_the_compiler():
    x = torch.randn(2, 2)
    assert takes_onednn(x, x) == HAS_ONEDNN
    # the compiler of CPU code cannot lower oneDNN's operators as they are called here
    assert not torch.compile(lambda x: takes_onednn(x, x), backend="eager")(x)


ALLOCATOR = """
import ctypes, sys, torch
from zoo.nn.memory import keep_freed_memory
class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
mallinfo2 = ctypes.CDLL(None).mallinfo2
mallinfo2.restype = Mallinfo2
if "keep" in sys.argv:
    keep_freed_memory()
torch.ones(1) + 1
before = mallinfo2()
tensor = torch.ones(16_000_000)  # 64 MB, above the largest threshold that glibc chooses itself
mapped = mallinfo2().hblks - before.hblks
del tensor
print(mapped, mallinfo2().fordblks - before.fordblks)
"""


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"),
    reason="only glibc >= 2.33 tells what it holds",
)
@pytest.mark.parametrize(("arguments", "is_kept"), [([], False), (["keep"], True)])
def test_freed_memory_is_used_again(arguments, is_kept):
    # asked of the allocator: page faults are counted differently by each kernel
    command = [sys.executable, "-c", ALLOCATOR, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    mapped, free = map(int, done.stdout.split())
    assert mapped == (0 if is_kept else 1)  # blocks that go back to the system when freed
    assert (free > 60_000_000) == is_kept  # some of what was free before may have been taken
