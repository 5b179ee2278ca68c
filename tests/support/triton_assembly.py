"""What compiled kernels say of themselves: registers that did not suffice, and how wide they load."""

import re
import subprocess
import tempfile
from pathlib import Path

import triton

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
COPY = r"cp\.async\.c[ag]\.shared\.global"  # from memory to a buffer; .cg are of 128 bits
LOAD = re.compile(rf"\b(?:ld\.global|{COPY}|(?:global|buffer|flat)_load)\S*")
WIDE = re.compile(r"\.v4\.b32|\.v2\.b64|_dwordx4|\.cg\.")  # 128 bits a thread


def assembly(kernel) -> str:
    return kernel.asm.get("ptx") or kernel.asm["amdgcn"]


def _dump(kernel, what: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        done = subprocess.run([CUOBJDUMP, what, file.name], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def spilled(kernel) -> int:
    """Return the bytes of memory that stand in for registers in the machine code, and of all other memory a thread."""
    if "ptx" not in kernel.asm:
        # Scalar registers go over to vector registers, not to memory.
        counts = re.findall(r"\.(?:vgpr_spill_count|private_segment_fixed_size):\s+(\d+)", assembly(kernel))
        assert len(counts) == 2
        return sum(map(int, counts))
    (usage,) = re.findall(r"REG:\d+ STACK:(\d+) .*LOCAL:(\d+)", _dump(kernel, "-res-usage"))
    return sum(map(int, usage))


def on_their_way(kernel) -> int:
    """Return the bytes of the buffers on one multiprocessor of sm_90 that copies fill while programs work on others."""
    if not re.search(COPY, assembly(kernel)):
        return 0
    (registers,) = re.findall(r"REG:(\d+)", _dump(kernel, "-res-usage"))
    threads = 32 * kernel.metadata.num_warps
    of_registers = 65536 // (threads * 8 * -(-int(registers) // 8))
    of_buffers = 227 * 1024 // (kernel.metadata.shared + 1024)
    return min(of_registers, of_buffers, 2048 // threads) * kernel.metadata.shared


def loads(kernel) -> list[str]:
    """Return all instructions that load from memory."""
    return LOAD.findall(assembly(kernel))


def loads_in_loops(kernel) -> list[str]:
    """Return the instructions inside of loops that load from memory: between a label and a jump back to it."""
    lines = assembly(kernel).splitlines()
    labels, inside = {}, set()
    for i, line in enumerate(lines):
        if label := re.match(r"\s*(\$L\w+|\.L\w+):", line):
            labels[label[1]] = i
        elif jump := re.search(r"\b(?:bra|s_cbranch_\w+|s_branch)(?:\.\w+)*\s+(\$L\w+|\.L\w+)", line):
            inside.update(range(labels.get(jump[1], i), i))
    return LOAD.findall("\n".join(lines[i] for i in sorted(inside)))


def narrow(instructions: list[str]) -> list[str]:
    return [instruction for instruction in instructions if not WIDE.search(instruction)]
