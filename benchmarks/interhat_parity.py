"""Logits of our InterHAt beside FuxiCTR's, with equal weights.

    git clone https://github.com/reczoo/FuxiCTR
    python benchmarks/interhat_parity.py --fuxictr FuxiCTR

FuxiCTR's package has its layers and its base model, but its model lies in `model_zoo` of its
repository. Of one head: with several, its code cuts what lies one behind another, fields before
heads, into heads, so that fields attend to parts of other fields.
"""

import argparse
import importlib.util
from pathlib import Path
from typing import Any

import torch
from common import make_schema, print_machine
from torch import Tensor

from zoo import Batch, InterHAt, Schema

DIM = 8


def theirs(folder: Path, schema: Schema, ours: InterHAt, attention_dim: int) -> Any:
    """FuxiCTR's model with the settings of ours."""
    from fuxictr.features import FeatureMap

    file = folder / "model_zoo" / "InterHAt" / "src" / "InterHAt.py"
    spec = importlib.util.spec_from_file_location("interhat_of_fuxictr", file)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    features = FeatureMap("rows", data_dir="")
    for field in schema.fields:
        kind = "numeric" if field.kind == "numerical" else "categorical"
        known = {"type": kind, "source": "", "vocab_size": field.cardinality}
        features.features[field.name] = known
    features.labels = ["label"]
    features.set_column_index()
    return module.InterHAt(
        features,
        embedding_dim=DIM,
        order=len(ours.aggregations),
        attention_dim=attention_dim,
        hidden_units=list(ours.hparams["hidden_units"]),
        optimizer="adam",
        loss="binary_crossentropy",
        model_root="",
        metrics=[],
        verbose=0,
    )


@torch.no_grad()
def copy_weights(schema: Schema, ours: InterHAt, peer: Any) -> None:
    """Gives both the same random weights."""
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    layers = peer.embedding_layer.embedding_layer.embedding_layers
    for n, field in enumerate(schema.numerical):
        vectors = ours.embedding.numerical_vectors
        assert isinstance(vectors, Tensor)
        layers[field.name].weight.copy_(vectors[n].unsqueeze(1))
    for field in schema.categorical:
        start = schema.first_rows[field.name]
        rows = ours.embedding.table[start : start + field.cardinality]
        layers[field.name].weight.copy_(rows)
    attention, mine = peer.multi_head_attention, ours.self_attention
    parts = (attention.W_q, attention.W_k, attention.W_v)
    for matrix, weight in zip(parts, mine.project.weight.chunk(3), strict=True):
        matrix.weight.copy_(weight)
    if mine.joined is not None:
        attention.W_res.weight.copy_(mine.joined.weight)
    attention.layer_norm.load_state_dict(mine.norm.state_dict())
    peer.feedforward.ffn[0].load_state_dict(ours.feed_forward.widen.state_dict())
    peer.feedforward.ffn[2].load_state_dict(ours.feed_forward.narrow.state_dict())
    peer.feedforward.layer_norm.load_state_dict(ours.feed_forward.norm.state_dict())
    aggregations = [*peer.aggregation_layers, peer.attentional_score]
    for other, part in zip(aggregations, [*ours.aggregations, ours.over_orders], strict=True):
        other.agg[0].load_state_dict(part.hidden.state_dict())
        other.agg[2].load_state_dict(part.context.state_dict())
    dense = [layer for layer in peer.mlp.mlp if isinstance(layer, torch.nn.Linear)]
    for other, layer in zip(dense, ours.deep.linears, strict=False):
        other.load_state_dict(layer.state_dict())
    dense[-1].load_state_dict({"weight": ours.head.weight, "bias": ours.bias})


def main() -> None:
    """Compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fuxictr", type=Path, required=True, help="clone of its repository")
    options = parser.parse_args()
    print_machine("torch", "fuxictr")
    schema = make_schema(10_000)
    random = torch.Generator().manual_seed(0)
    ids = [torch.randint(f.cardinality, (2000,), generator=random) for f in schema.categorical]
    numbers = torch.randn(2000, len(schema.numerical), generator=random)
    batch = Batch(numbers, torch.stack(ids, 1), torch.zeros(2000))
    columns = dict(zip((f.name for f in schema.fields), [*numbers.T, *ids], strict=True))
    for orders, attention_dim in ((2, DIM), (3, 12), (4, DIM)):
        ours = InterHAt(
            schema,
            **{"embedding_dim": DIM, "orders": orders, "heads": 1, "hidden_units": [16, 8]},
            attention_dim=attention_dim,
        ).eval()
        peer = theirs(options.fuxictr, schema, ours, attention_dim).eval()
        peer.output_activation = torch.nn.Identity()  # logits
        copy_weights(schema, ours, peer)
        with torch.no_grad():
            found = ours(batch)
            expected = peer({**columns, "label": batch.label})["y_pred"].squeeze(1)
        difference = float((found - expected).abs().max())
        print(
            f"{orders} orders, attention of width {attention_dim}: logits with a standard "
            f"deviation of {float(found.std()):.3f} differ by {difference:.1e} at most"
        )


if __name__ == "__main__":
    main()
