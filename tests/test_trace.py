"""benchmarks.trace: what the kernels of a trace are for, from a trace and a compiled program written by hand."""

import gzip
import json

import pytest

from benchmarks import trace

COMPILED = """
ENTRY %main {
  %loop_add_fusion.3 = bf16[8]{0} fusion(%a), kind=kLoop, metadata={op_name="jit(f)/jvp(Net)/norm_0/add"}
  %input_reduce_fusion = (f32[8]{0}, f32[8]{0}) fusion(%b), metadata={op_name="jit(f)/transpose(jvp(Net))/norm_0/sum"}
  ROOT %loop_sub_fusion.12 = f32[8]{0} fusion(%c), kind=kLoop, metadata={op_name="jit(f)/sub"}
}
"""
# Each of two steps: name, start and duration in microseconds.
RAN = [
    ("loop_add_fusion_3", 0, 1000),
    ("sm90_xmma_fprop_implicit_gemm", 1000, 4000),
    ("input_reduce_fusion", 5500, 2000),
    ("loop_sub_fusion_12", 7500, 500),
]


def write(folder, device: str) -> None:
    events = [{"ph": "M", "name": "process_name", "pid": 1, "args": {"name": device}}]
    events += [
        {"ph": "X", "pid": 1, "name": name, "ts": step * 10_000 + start, "dur": duration}
        for step in (1, 0)
        for name, start, duration in RAN
    ]
    events.append({"ph": "X", "pid": 2, "name": "on the host", "ts": 0, "dur": 90_000})
    folder.mkdir()
    (folder / "vm.trace.json.gz").write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))
    (folder / trace.COMPILED).write_text(COMPILED)


def test_times_are_summed_by_what_kernels_are_for(tmp_path, capsys):
    write(tmp_path / "trace", "/device:GPU:0")
    trace.print_kinds(tmp_path / "trace", steps=2)
    heading, *lines = capsys.readouterr().out.splitlines()
    # 1 + 4 + 2 + 0.5 ms a step; the second of two steps ends 18 ms after the first begins.
    assert heading.split(":")[1] == " 4 kernels, 7.5 ms; 9.0 ms from the first to the last"
    rows = [line.split(maxsplit=4) for line in lines]
    assert [(row[0], row[-1]) for row in rows] == [
        ("4.00", "convolutions"),
        ("2.00", "norm, backward"),
        ("1.00", "norm, forward"),
        ("0.50", "loop_sub_fusion"),
    ]


def test_a_trace_without_a_gpu_says_so(tmp_path):
    write(tmp_path / "trace", "/host:CPU")
    with pytest.raises(SystemExit, match="has no GPU; trace steps on one"):
        trace.print_kinds(tmp_path / "trace", steps=2)
