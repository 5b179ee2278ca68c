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
_LOADS_WIDE = re.compile(r"\bLDG(?:STS)?\b.*\.128|_load_dwordx4").search


def assembly(kernel) -> str:
    return kernel.asm.get("ptx") or kernel.asm["amdgcn"]


def _dump(kernel, what: str) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        done = subprocess.run([CUOBJDUMP, what, file.name], capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def machine_code(kernel) -> str:
    """Return the instructions as they are executed, in their order."""
    return _dump(kernel, "-sass") if "ptx" in kernel.asm else assembly(kernel)


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


def _loops(kernel) -> list[list[str]]:
    """Return the instructions of each loop of the machine code: from where a jump goes back to, to the jump."""
    if "ptx" in kernel.asm:
        code = re.findall(r"/\*([0-9a-f]{4,})\*/\s+(.*?);", _dump(kernel, "-sass"))
        lines = [(int(address, 16), text) for address, text in code]
        jumps = ((i, re.search(r"\bBRA\b.*?(0x[0-9a-f]+)", text)) for i, (_, text) in enumerate(lines))
        places = {address: i for i, (address, _) in enumerate(lines)}
        ends = [(places[int(jump[1], 16)], i) for i, jump in jumps if jump]
        return [[text for _, text in lines[first : last + 1]] for first, last in ends if first < last]
    lines = assembly(kernel).splitlines()
    labels = {line.partition(":")[0]: i for i, line in enumerate(lines) if re.match(r"\.LBB\w+:", line)}
    jumps = ((i, re.search(r"\bs_c?branch\w*\s+(\.LBB\w+)", line)) for i, line in enumerate(lines))
    ends = [(labels[jump[1]], i) for i, jump in jumps if jump]
    loops = [lines[first : last + 1] for first, last in ends if first < last]
    return [[line for line in loop if re.match(r"\s+[a-z]\w+", line)] for loop in loops]


def length(kernel) -> int:
    """Return how many instructions there are, each once."""
    if "ptx" in kernel.asm:
        return len(
            [text for text in re.findall(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", _dump(kernel, "-sass")) if text != "NOP"]
        )
    return len([line for line in assembly(kernel).splitlines() if re.match(r"\s+[a-z]\w+", line)])


def reading_loop(kernel) -> list[str]:
    """Return the instructions of the first loop that loads 128 bits a thread, or of the shortest that loads at all."""
    loads = re.compile(r"\b(?:LDG|LDGSTS)\b|\b(?:global|buffer|flat)_load").search
    loops = [loop for loop in _loops(kernel) if any(map(loads, loop))]
    return next((loop for loop in loops if any(map(_LOADS_WIDE, loop))), min(loops, key=len))


def instructions(kernel) -> tuple[int, int]:
    """Return how many instructions the loop that reads has, and how many bytes a thread loads in it."""
    loop = reading_loop(kernel)
    return len(loop), 16 * sum(map(bool, map(_LOADS_WIDE, loop)))


def narrow(instructions: list[str]) -> list[str]:
    return [instruction for instruction in instructions if not WIDE.search(instruction)]
