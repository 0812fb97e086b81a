"""Writes all-MiniLM-L6-v2 as an ONNX graph straight from its safetensors weights: the reference that our embedder is
compared with, in numbers (embed_reference.py) and in speed (bench_embed.py).

The graph is plain BERT in ONNX's own operators (LayerNormalization, Gelu of opset 20), so that onnxruntime may fuse
attention as it does for exported models. Inputs: input_ids and attention_mask [n, length] int64; output: unit vectors
[n, 384] float32.
"""

import json
import math
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file


def build(folder: pathlib.Path) -> onnx.ModelProto:
    """Returns the ONNX model of the BERT encoder in folder."""
    config = json.loads((folder / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    width, heads = config["hidden_size"], config["num_attention_heads"]
    head = width // heads
    nodes, constants = [], []

    def const(name, array):
        constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(kind, *inputs, **attributes):
        out = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def linear(x, name):
        matrix = const(name + ".matrix", weights[name + ".weight"].T)
        return node("Add", const(name + ".bias", weights[name + ".bias"]), node("MatMul", x, matrix))

    def norm(x, name):
        gain, bias = const(name + ".gain", weights[name + ".weight"]), const(name + ".shift", weights[name + ".bias"])
        return node("LayerNormalization", x, gain, bias, axis=-1, epsilon=config["layer_norm_eps"])

    def split(x, order):
        return node("Transpose", node("Reshape", x, by_head), perm=order)

    by_head = const("by_head", np.array([0, 0, heads, head], np.int64))
    joined = const("joined", np.array([0, 0, width], np.int64))
    scale = const("scale", np.array(math.sqrt(head), np.float32))

    length = node("Shape", "input_ids", start=1, end=2)
    zero, one = const("zero", np.array([0], np.int64)), const("one", np.array([1], np.int64))
    words = node("Gather", const("words", weights["embeddings.word_embeddings.weight"]), "input_ids")
    positions = node("Slice", const("positions", weights["embeddings.position_embeddings.weight"]), zero, length, zero, one)
    kind = const("kind", weights["embeddings.token_type_embeddings.weight"][0])
    x = norm(node("Add", node("Add", words, kind), positions), "embeddings.LayerNorm")

    present = node("Cast", "attention_mask", to=TensorProto.FLOAT)  # [n, length]
    absent = node("Sub", const("unit", np.array(1, np.float32)), present)
    hide = node("Mul", absent, const("minus", np.array(-10000.0, np.float32)))
    hide = node("Unsqueeze", hide, const("axes12", np.array([1, 2], np.int64)))
    for layer in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{layer}."
        q = split(linear(x, p + "attention.self.query"), [0, 2, 1, 3])
        k = split(linear(x, p + "attention.self.key"), [0, 2, 3, 1])
        v = split(linear(x, p + "attention.self.value"), [0, 2, 1, 3])
        scores = node("Add", node("Div", node("MatMul", q, k), scale), hide)
        mixed = node("MatMul", node("Softmax", scores, axis=-1), v)
        mixed = node("Reshape", node("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        x = norm(node("Add", linear(mixed, p + "attention.output.dense"), x), p + "attention.output.LayerNorm")
        wide = node("Gelu", linear(x, p + "intermediate.dense"))
        x = norm(node("Add", linear(wide, p + "output.dense"), x), p + "output.LayerNorm")

    weight = node("Unsqueeze", present, const("last", np.array([-1], np.int64)))
    mean = node("Div", node("ReduceSum", node("Mul", x, weight), one, keepdims=0), node("ReduceSum", weight, one, keepdims=0))
    nodes.append(helper.make_node("LpNormalization", [mean], ["vectors"], axis=-1, p=2))
    graph = helper.make_graph(
        nodes,
        "minilm",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "length"]) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["n", width])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return model
