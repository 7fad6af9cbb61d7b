"""Fits of one to four processes in double precision, all from one start; see `test_exchange`.

python tests/support/parity.py FOLDER          # the cases of the test
python tests/support/parity.py FOLDER --all    # all models, optimizers and numbers of processes
"""

import itertools
import logging
import multiprocessing.connection
import os
import sys
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import distributed
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.resuming import QUIET

import zoo
from zoo import Batch, Field, Schema
from zoo.data.batch import take
from zoo.data.lists import Lists
from zoo.nn import exchange
from zoo.nn.embedding import FusedEmbedding
from zoo.run import sharded

PROCESSES = 4
STEPS, ROWS = 25, 24  # rows of a step, over all processes: each has as many
SCHEMA = Schema(
    (
        Field("n", "numerical"),
        Field("m", "numerical"),
        Field("a", "categorical", 40),
        Field("b", "categorical", 300),
    )
)
OF_LISTS = Schema((*SCHEMA.fields, Field("l", "multi", 30)))
SMALL = {"embedding_dim": 3, "learning_rate": 0.1}
RATES = {name: {"learning_rate": 0.01} for name in ("adam", "lazy_adam")}
DEEP = {"hidden_units": [5]}
MODELS = {
    "AdditiveNetwork": {
        "terms": [["n"], ["m"], ["a"], ["b"], ["a", "b"], ["n", "a"], ["n", "m", "b"]],
        "numerical_encoding": "none",
    },
    "DeepFM": DEEP,
    "WideDeep": DEEP,
    "DCN": DEEP | {"embedding_dims": {"a": 2}},
    "xDeepFM": DEEP | {"cin_layers": [4]},
    "AutoInt": DEEP | {"embed_numerical": True},
    "FiBiNET": DEEP,
    # rounding grows too fast where small embeddings are normalised, or steps are Adam's or long
    "InterHAt": DEEP | {"embedding_std": 1.0, "learning_rate": 0.01},
    "InterpretableMLP": DEEP | {"subsets": {"few": ["a"], "all": ["*"]}},
}
STRATEGIES = ("ddp", sharded.NAME)
OPTIMIZERS = ("adagrad", "adam", "sgd", "lazy_adam")


@dataclass(frozen=True)
class Case:
    """A fit, as part of a product.

    Attributes:
        model: Name of the model.
        optimizer: Name of the optimizer.
        strategy: Of several processes.
        of: Further options: of the model, and of the trainer.
    """

    model: str
    optimizer: str
    strategy: str = "ddp"
    of: str = ""
    processes: int = 1

    @property
    def alone(self):
        """The same fit by one process."""
        return Case(self.model, self.optimizer, of=self.of)


# by name: options of the model, options of the trainer
OPTIONS = {
    "": ({}, {}),
    "lists": ({"pooling": "sum"}, {}),
    "no first order": ({"first_order": False}, {}),
    "accumulated": ({}, {"accumulate_grad_batches": 2}),
    "clipped": ({}, {"gradient_clip_val": 0.05}),
    "by value": ({}, {"gradient_clip_val": 0.001, "gradient_clip_algorithm": "value"}),
    "decays": ({"embedding_weight_decay": 0.01, "weight_decay": 0.01}, {}),
    "averaged": ({}, {"callbacks": "EMA"}),
    "dense": ({"sparse_gradients": False}, {}),
}


def several(model, optimizer, processes, of="", strategy="ddp"):
    return Case(model, optimizer, strategy, of, processes)


CASES = [
    several("DeepFM", "adagrad", 4),
    several("AdditiveNetwork", "adagrad", 3),
    several("DCN", "adam", 4),
    several("DCN", "lazy_adam", 3),
    several("WideDeep", "sgd", 3),
    several("xDeepFM", "lazy_adam", 2),
    several("AutoInt", "adam", 3),
    several("FiBiNET", "lazy_adam", 2),
    several("InterHAt", "adagrad", 2),
    several("InterpretableMLP", "adagrad", 2),
    several("WideDeep", "adagrad", 4, "lists"),
    several("DeepFM", "adam", 2, "no first order"),
    several("DeepFM", "adam", 3, "accumulated"),
    several("DeepFM", "adagrad", 2, "clipped"),
    several("DeepFM", "sgd", 2, "by value"),
    several("DeepFM", "adagrad", 3, "decays"),
    several("DeepFM", "adam", 2, "averaged"),
    several("DeepFM", "adagrad", 3, strategy=sharded.NAME),
    several("AdditiveNetwork", "adam", 2, strategy=sharded.NAME),
    several("DCN", "adam", 4, strategy=sharded.NAME),
    several("WideDeep", "sgd", 2, strategy=sharded.NAME),
    several("xDeepFM", "lazy_adam", 4, strategy=sharded.NAME),
    several("AutoInt", "adam", 2, strategy=sharded.NAME),
    several("FiBiNET", "adagrad", 2, strategy=sharded.NAME),
    several("InterHAt", "sgd", 3, strategy=sharded.NAME),
    several("InterpretableMLP", "adagrad", 4, strategy=sharded.NAME),
    several("WideDeep", "adagrad", 2, "lists", strategy=sharded.NAME),
    several("DeepFM", "adam", 2, "accumulated", strategy=sharded.NAME),
    several("DeepFM", "adagrad", 3, "clipped", strategy=sharded.NAME),
    several("DeepFM", "adam", 3, "averaged", strategy=sharded.NAME),
]


def product():
    """All models, optimizers, numbers of processes and options."""
    for strategy, processes, optimizer in itertools.product(STRATEGIES, (2, 3, 4), OPTIMIZERS):
        for model in MODELS:
            yield several(model, optimizer, processes, strategy=strategy)
        for of in filter(None, OPTIONS):
            if optimizer == "lazy_adam" and of in ("decays", "dense"):
                continue
            yield several("DeepFM", optimizer, processes, of, strategy)


def rows_of(schema, part, parts, batches, size):
    """The same rows in the same batches, whatever the number of processes: the part of one."""
    random = torch.Generator().manual_seed(3)
    mine = slice(size * part // parts, size * (part + 1) // parts)
    found = []
    for _ in range(batches):
        ids = [torch.randint(f.cardinality, (size,), generator=random) for f in schema.categorical]
        lengths = torch.randint(4, (size, len(schema.lists)), generator=random)
        values = torch.randint(30, (int(lengths.sum()),), generator=random)
        offsets = (lengths.flatten().cumsum(0) - lengths.flatten()).view_as(lengths)
        batch = Batch(
            torch.randn(size, 2, generator=random),
            torch.stack(ids, 1),
            (torch.rand(size, generator=random) < 0.4).double(),
            lists=Lists(values, offsets, lengths) if schema.lists else None,
        )
        found.append(take(batch, mine))
    return found


def fit(case, rank):
    """Weights after a fit, and the logits of rows whose ids are off in part."""
    settings, training = OPTIONS[case.of]
    schema = OF_LISTS if case.of == "lists" else SCHEMA
    torch.manual_seed(1)
    options = SMALL | MODELS[case.model] | settings | {"optimizer": case.optimizer}
    model = getattr(zoo, case.model)(schema, **options | RATES.get(case.optimizer, {}))
    if "callbacks" in training:
        training = {"callbacks": EMAWeightAveraging(decay=0.9)}
    size = ROWS // training.get("accumulate_grad_batches", 1)
    rows = rows_of(schema, rank, case.processes, STEPS * ROWS // size, size)
    if case.processes > 1:
        training = training | {"devices": case.processes, "strategy": case.strategy}
    trainer = pl.Trainer(
        max_epochs=1,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        **QUIET,
        **training,
    )
    trainer.fit(model, DataLoader(rows, batch_size=None), DataLoader(rows[:2], batch_size=None))
    assert trainer.global_step == STEPS
    (batch,) = rows_of(schema, 0, 1, 1, ROWS)
    batch.categorical[::2, 0] = -1
    with torch.no_grad():
        found = {"logits": model.eval()(batch)}
    found |= {k: v for k, v in model.state_dict().items() if v.is_floating_point()}
    for path, module in model.named_modules():
        if isinstance(module, FusedEmbedding) and module.shard is not None:
            own = torch.arange(module.shard.start, module.shard.stop)
            found[f"{path}.table ids"] = module.shard.partition.ids(own)
    return found


def work(rank, folder, cases):
    """Takes part in those fits that this process is one of, in their order."""
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_default_dtype(torch.float64)
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    first = 0
    for number, case in enumerate(cases):
        mine = [(first + i) % PROCESSES for i in range(case.processes)]
        first = (mine[-1] + 1) % PROCESSES  # who would wait takes the next
        if rank not in mine:
            continue
        os.environ["LOCAL_RANK"] = str(mine.index(rank))
        several = group(folder, number, mine.index(rank), case.processes)
        with several if case.processes > 1 else nullcontext():
            found = fit(case, mine.index(rank))
        torch.save(found, folder / f"{number} of {mine.index(rank)}.pt")
    if rank < 2:
        with group(folder, "bytes", rank, 2):
            counted = {ids: received(ids, rank) for ids in (10**5, 10**6, 10**8)}
        torch.save(counted, folder / f"bytes of {rank}.pt")


@contextmanager
def group(folder, name, rank, processes):
    """A group of processes, by a file, while it lasts."""
    store = distributed.FileStore(str(folder / f"store {name}"), processes)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=processes)
    yield
    distributed.destroy_process_group()


def received(ids, rank):
    """Bytes that a process gets of the other in a step, and the distinct ids of the larger share.

    Of 1,024 rows each of 26 fields of so many ids together, a few fields with the most of them, and
    a few ids of each field that come often.
    """
    shares = torch.tensor([0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05] + [0.05 / 19] * 19)
    sizes = (shares * ids).long()
    count = 0
    gather = exchange.all_gather

    def gathering(found, part):
        nonlocal count
        count += found.nbytes - part.nbytes
        return gather(found, part)

    def rows(share):
        random = torch.Generator().manual_seed(share)
        drawn = torch.rand(1024, 26, generator=random) ** 4 * sizes
        return (drawn.long() + sizes.cumsum(0) - sizes).flatten()

    mine = rows(rank)
    values = torch.ones(len(mine), 17, dtype=torch.float32)
    # torch 2.11 does not take the argument alone for an explicit choice, and warns
    unchecked = torch.sparse.check_sparse_tensor_invariants(False)
    with mock.patch.object(exchange, "all_gather", gathering), unchecked:
        exchange.gathered(
            torch.sparse_coo_tensor(mine[None], values, (ids, 17), check_invariants=False)
        )
    return count, max(len(rows(share).unique()) for share in range(2))


def main(folder, cases):
    """Runs the cases, and each once more by one process."""
    cases = sorted({*cases, *(case.alone for case in cases)}, key=repr)
    fork = multiprocessing.get_context("fork")  # what is imported, is imported once
    workers = [fork.Process(target=work, args=(i, folder, cases)) for i in range(PROCESSES)]
    for worker in workers:
        worker.start()
    left = {worker.sentinel for worker in workers}
    while left:
        left -= {*multiprocessing.connection.wait(left)}
        if any(worker.exitcode for worker in workers):
            for worker in workers:  # which would wait for the one that failed
                worker.kill()
            sys.exit("a process has failed")
    torch.save({repr(case): n for n, case in enumerate(cases)}, folder / "cases.pt")


def differences(folder, cases):
    """The largest difference of each case from one process, by all its processes."""
    numbers = torch.load(folder / "cases.pt", weights_only=True)
    found = {}
    for case in cases:
        alone = torch.load(folder / f"{numbers[repr(case.alone)]} of 0.pt", weights_only=True)
        assert max(float(x.abs().max()) for x in alone.values()) > 0.1
        found[case] = 0.0
        for rank in range(case.processes):
            path = folder / f"{numbers[repr(case)]} of {rank}.pt"
            mine = torch.load(path, weights_only=True)
            assert {name for name in mine if not name.endswith(" ids")} == alone.keys()
            for name, whole in alone.items():
                ids = mine.get(f"{name} ids", torch.arange(len(whole)))
                exist = ids < len(whole)
                left = mine[name][exist] - whole[ids[exist]]
                found[case] = max([found[case], *left.abs().flatten().tolist()])
    return found


if __name__ == "__main__":
    chosen = [*product()] if "--all" in sys.argv else CASES
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    main(folder, chosen)
    if "--all" in sys.argv:
        for case, difference in differences(folder, chosen).items():
            print(f"{difference:.1e}  {case}")
