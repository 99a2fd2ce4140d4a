"""Model files that lie about themselves, GGUF and safetensors, given to ``vckg-serve chat``."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.hostile.attacks import Attack, Ground, Watched, damaged_json, deep_json, flipped, left_over, rng
from tests.hostile.commands import Limits

TAKES = Limits(cpu_s=60, wall_s=300, memory=8 << 30)
TEXTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")


def attacks(ground: Ground) -> list[Attack]:
    """The attacks of this part."""
    from tests.serve.conftest import save_tiny

    folder = save_tiny(ground.folder / "tiny", num_hidden_layers=1)
    gguf = _write_gguf(ground.folder / "tiny.gguf")
    ended = ground.must_work(_chat(folder), ground.folder, limits=TAKES, stdin="hello\n")
    if not ended.out.strip():
        raise RuntimeError("the sound model said nothing")
    ground.must_work(_chat(gguf), ground.folder, limits=TAKES)
    files = sorted(p.name for p in folder.iterdir() if p.is_file())
    return [
        Attack("safetensors: random bits of the header", partial(_header_bits, ground, folder), share=0.2),
        Attack("safetensors: headers that lie", partial(_lying, ground, folder), len(HEADERS)),
        Attack("model folder: random bits", partial(_folder_bits, ground, folder, files), share=0.1),
        Attack("model folder: JSON made by hand", partial(_folder_json, ground, folder), share=0.1),
        Attack("GGUF: random bits", partial(_gguf_bits, ground, gguf), share=0.2),
        Attack("GGUF: headers that lie", partial(_gguf_lies, ground, gguf), len(GGUFS)),
    ]


def _chat(model: Path) -> list[str | Path]:
    return ["vckg-serve", "chat", "-m", model, "--threads", "1", "--max-tokens", "2", "--cache-tokens", "256"]


def _judged(ground: Ground, model: Path, folder: Path, codes: tuple[int, ...] = (0, 2)) -> str | None:
    watched = Watched(model)
    ended = ground.run(_chat(model), folder, limits=TAKES, stdin="hello\n")
    said = ended.wrong or watched.harmed() or left_over(folder, [model.name])
    if not said and ended.code not in codes:
        said = f"exit {ended.code}, wanted 2"
    return said


# ---- a folder of Hugging Face's form -------------------------------------------------------------------------------


def _copied(folder: Path, at: Path) -> Path:
    return Path(shutil.copytree(folder, at / "model"))


def _header(content: bytes) -> tuple[dict[str, Any], bytes]:
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def _packed(header: bytes, tensors: bytes, size: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if size is None else size) + header + tensors


def _header_bits(ground: Ground, sound: Path, seed: int, folder: Path) -> str | None:
    """A few bits of the size and the JSON before the tensors."""
    model = _copied(sound, folder)
    path = model / "model.safetensors"
    content = path.read_bytes()
    size = 8 + struct.unpack("<Q", content[:8])[0]
    chance = rng("safetensors", seed)
    path.write_bytes(
        flipped(content, chance, bits=chance.choice([1, 2, 8]), window=range(8 if seed % 4 == 0 else size))
    )
    return _judged(ground, model, folder)


def _tensor(**values: Any) -> Callable[[bytes], bytes]:
    """Something else said of one tensor."""

    def change(content: bytes) -> bytes:
        header, tensors = _header(content)
        name = next(n for n in header if n != "__metadata__")
        header[name].update(values)
        return _packed(json.dumps(header).encode(), tensors)

    return change


def _raw_header(header: bytes, size: int | None = None) -> Callable[[bytes], bytes]:
    return lambda content: _packed(header, _header(content)[1], size)


HEADERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("an empty file", lambda _c: b""),
    ("five bytes", lambda c: c[:5]),
    ("half the tensors", lambda c: c[: len(c) // 2]),
    ("a header of 2^63 bytes", lambda c: struct.pack("<Q", 1 << 63) + c[8:]),
    ("a header of 2^64 - 1 bytes", lambda c: struct.pack("<Q", (1 << 64) - 1) + c[8:]),
    ("a header of 90 MB", _raw_header(b'{"a":"' + b"x" * 90_000_000 + b'"}')),
    ("a header that is a list", _raw_header(b"[]")),
    ("a header that is no JSON", _raw_header(b"\xff" * 50)),
    ("a header without end", _raw_header(deep_json().encode())),
    ("no tensors", _raw_header(b"{}")),
    ("a shape of 2^62", _tensor(shape=[1 << 62, 1 << 62])),
    ("a negative shape", _tensor(shape=[-1, 32])),
    ("a shape of zeros", _tensor(shape=[0, 0], data_offsets=[0, 0])),
    ("a kind that is none", _tensor(dtype="F1000")),
    ("a kind that is a list", _tensor(dtype=[])),
    ("offsets beyond the end", _tensor(data_offsets=[0, 1 << 60])),
    ("offsets backwards", _tensor(data_offsets=[4096, 0])),
    ("negative offsets", _tensor(data_offsets=[-4096, 0])),
    ("offsets that are words", _tensor(data_offsets=["a", "b"])),
]


def _lying(ground: Ground, sound: Path, seed: int, folder: Path) -> str | None:
    name, change = HEADERS[seed]
    model = _copied(sound, folder)
    path = model / "model.safetensors"
    path.write_bytes(change(path.read_bytes()))
    said = _judged(ground, model, folder, codes=(2,))
    return said and f"{name}: {said}"


def _folder_bits(ground: Ground, sound: Path, files: list[str], seed: int, folder: Path) -> str | None:
    """A few bits of any file of the folder."""
    chance = rng("folder", seed)
    model = _copied(sound, folder)
    path = model / chance.choice(files)
    path.write_bytes(flipped(path.read_bytes(), chance, bits=chance.choice([1, 4, 16])))
    said = _judged(ground, model, folder)
    return said and f"{path.name}: {said}"


def _folder_json(ground: Ground, sound: Path, seed: int, folder: Path) -> str | None:
    """A value of one of the JSON files is another, or nested without end."""
    chance = rng("json", seed)
    model = _copied(sound, folder)
    path = model / chance.choice([name for name in TEXTS if (model / name).is_file()])
    value = json.loads(path.read_text())
    if chance.random() < 0.1:
        path.write_text(
            chance.choice(["", "[]", "5", "{", deep_json(), '{"model_type": ' + "9" * 5_000 + "}"])
        )
    else:
        path.write_text(json.dumps(damaged_json(value, chance)))
    said = _judged(ground, model, folder)
    return said and f"{path.name}: {said}"


# ---- GGUF ----------------------------------------------------------------------------------------------------------


def _write_gguf(path: Path) -> Path:
    """A small Llama with its settings, a tokenizer's words and its tensors."""
    import numpy as np
    from gguf import GGUFWriter

    draws = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    counts = {"embedding_length": 64, "feed_forward_length": 96, "block_count": 1, "context_length": 128,
              "attention.head_count": 4, "attention.head_count_kv": 2}  # fmt: skip
    for name, value in counts.items():
        writer.add_uint32(f"llama.{name}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["a", "b", "ab", "</s>"])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(3)
    inner = {"attn_q": (64, 64), "attn_k": (32, 64), "attn_v": (32, 64), "attn_output": (64, 64),
        "ffn_norm": (64,),
             "attn_norm": (64,), "ffn_gate": (96, 64), "ffn_up": (96, 64), "ffn_down": (64, 96)}  # fmt: skip
    shapes = {"token_embd": (4, 64), "output_norm": (64,), **{f"blk.0.{n}": s for n, s in inner.items()}}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draws.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _gguf_bits(ground: Ground, sound: Path, seed: int, folder: Path) -> str | None:
    """A few bits, most of them in the header."""
    chance = rng("gguf", seed)
    content = sound.read_bytes()
    model = folder / "model.gguf"
    window = range(24) if seed % 4 == 0 else range(1_000) if seed % 4 < 3 else None
    model.write_bytes(flipped(content, chance, bits=chance.choice([1, 2, 8]), window=window))
    return _judged(ground, model, folder)


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def _gguf(*pairs: bytes, tensors: int = 0, counted: int | None = None) -> bytes:
    """A header with these pairs of metadata."""
    counts = struct.pack("<IQQ", 3, tensors, len(pairs) if counted is None else counted)
    return b"GGUF" + counts + b"".join(pairs)


def _array(kind: int, count: int, content: bytes = b"") -> bytes:
    return _text("a") + struct.pack("<IIQ", 9, kind, count) + content


ARCHITECTURE = _text("general.architecture") + struct.pack("<I", 8) + _text("llama")


def _described(*, rank: int = 2, shape: tuple[int, ...] = (4, 4), kind: int = 0, start: int = 0) -> bytes:
    """A header of one tensor."""
    words = (
        _text("token_embd.weight") + struct.pack("<I", rank) + b"".join(struct.pack("<Q", n) for n in shape)
    )
    return _gguf(ARCHITECTURE, tensors=1) + words + struct.pack("<IQ", kind, start) + b"\0" * 512


def _replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, 1)


def _setting(name: str, value: int) -> Callable[[bytes], bytes]:
    """Another number for a setting of the sound file."""

    def change(content: bytes) -> bytes:
        at = content.index(_text(name)) + len(_text(name)) + 4
        return content[:at] + struct.pack("<I", value) + content[at + 4 :]

    return change


GGUFS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("an empty file", lambda _c: b""),
    ("half the file", lambda c: c[: len(c) // 2]),
    ("version 0", lambda c: c[:4] + struct.pack("<I", 0) + c[8:]),
    ("2^63 pairs", lambda _c: _gguf(counted=1 << 63)),
    ("2^63 tensors", lambda _c: _gguf(ARCHITECTURE, tensors=1 << 63)),
    ("10^7 pairs of nothing", lambda _c: _gguf(counted=10**7) + b"\0" * 4_000_000),
    ("a text of 2^62 bytes", lambda _c: _gguf(struct.pack("<Q", 1 << 62) + b"x" * 64)),
    ("a text that is none",
        lambda _c: _gguf(struct.pack("<Q", 4) + b"\xff\xfe\xff\xfe" + struct.pack("<IB", 0, 1))),
    ("a kind of 1,000", lambda _c: _gguf(_text("a") + struct.pack("<I", 1_000))),
    ("an array of 2^62", lambda _c: _gguf(_array(0, 1 << 62, b"\0" * 64))),
    ("arrays in arrays, 10^5 deep", lambda _c: _gguf(_array(9, 1, struct.pack("<IQ", 9, 1) * 100_000))),
    ("an architecture that is a number",
        lambda _c: _gguf(_text("general.architecture") + struct.pack("<II", 4, 5))),
    ("an architecture twice", lambda _c: _gguf(ARCHITECTURE, ARCHITECTURE)),
    ("a rank of 2^31", lambda _c: _described(rank=1 << 31)),
    ("a shape of 2^62", lambda _c: _described(shape=(1 << 62, 1 << 62))),
    ("a shape of zeros", lambda _c: _described(shape=(0, 0))),
    ("a kind of tensor that is none", lambda _c: _described(kind=99)),
    ("an offset of 2^63", lambda _c: _described(start=1 << 63)),
    ("an alignment of 0",
        _replaced(_text("llama.context_length"), _text("general.alignment"[:20].ljust(20)))),
    *((f"{name} is {value}", _setting(f"llama.{name}", value)) for name
        in ("block_count", "attention.head_count", "attention.head_count_kv", "embedding_length",
            "feed_forward_length") for value in (0, 3, 2**31 - 1)),
]  # fmt: skip


def _gguf_lies(ground: Ground, sound: Path, seed: int, folder: Path) -> str | None:
    name, change = GGUFS[seed]
    model = folder / "model.gguf"
    model.write_bytes(change(sound.read_bytes()))
    said = _judged(ground, model, folder, codes=(0, 2))
    return said and f"{name}: {said}"
