"""An import whose client, or whose service, dies: run again, nothing is lost and nothing there twice."""

import asyncio
import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

import pytest

from tests.support.made_rows import made_rows
from tests.support.mesh import Mesh
from tests.support.stack import MESH
from tests.support.waiting import until

# Of each side, however long the file is.
MOST_MEMORY_KIB = 300 * 1024
# Of rows: a busy machine writes them within a test's patience.
FIRST_KILL = 10_000
_LOOK_SECONDS = 0.2
_WRITTEN = "SELECT count(*) FROM products WHERE sku LIKE $1"
_STATE = """
    SELECT count(*) AS products, count(DISTINCT p.sku) AS skus, sum(p.version) AS versions,
           sum(l.free) AS units, sum(l.adjustment_count) AS openings,
           (SELECT count(*) FROM events) AS events
      FROM products p
      JOIN stock_levels l USING (product_id)
     WHERE p.sku LIKE $1
    """


@dataclass
class Importing:
    """`mesh import` of a file, as a process."""

    mesh: Mesh
    path: Path
    tag: str

    def start(self) -> "subprocess.Popen[str]":
        """Begin, or begin again."""
        program = [str(MESH), "import", str(self.path), "--data", str(self.mesh.place.data)]
        return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    async def until_written(self, count: int) -> None:
        """Wait until so many of its products are there."""

        async def are_there() -> bool:
            [row] = await self.mesh.fetch("product", _WRITTEN, f"{self.tag}%")
            return bool(row["count"] >= count)

        await until(are_there)

    async def state(self) -> dict[str, int]:
        """Count what is there of it."""
        [row] = await self.mesh.fetch("product", _STATE, f"{self.tag}%")
        return dict(row)


def peak_kib(pid: int) -> int:
    """Return the most memory that a process had at once: proc(5), VmHWM."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


async def ended(client: "subprocess.Popen[str]") -> tuple[str, int]:
    """Return what an import said, and its peak of memory, once it has ended well."""
    peak = 0
    saying = asyncio.create_task(asyncio.to_thread(client.communicate))
    while not saying.done():
        # The memory is gone with the process, which ends between two looks.
        with suppress(OSError, StopIteration):
            peak = max(peak, peak_kib(client.pid))
        await asyncio.wait([saying], timeout=_LOOK_SECONDS)
    text, _ = await saying
    assert client.returncode == 0, text
    return text, peak


def write_row(file: IO[str], text: str, tag: str) -> int:
    """Write a row under a sku of this test's own, and return its units."""
    values = json.loads(text)
    file.write(json.dumps({**values, "sku": f"{tag}{values['sku']}"}) + "\n")
    return int(values["stock"])


@pytest.mark.parametrize("count", [5000, pytest.param(1_000_000, marks=pytest.mark.long)])
async def test_an_import_outlives_a_kill_of_either_side_in_flat_memory(
    mesh: Mesh, tmp_path: Path, count: int
) -> None:
    tag = f"K{uuid4().hex[:8]}-"
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        units = sum(write_row(file, text, tag) for text in made_rows(count))
    importing = Importing(mesh, path, tag)
    client = importing.start()
    await importing.until_written(min(count // 5, FIRST_KILL))
    client.kill()
    assert client.wait() == -9
    client = importing.start()
    await importing.until_written(min(count // 2, 2 * FIRST_KILL))
    killed = mesh.kill(mesh.parts("product")[0].name)
    _, peak = await ended(client)
    await mesh.await_replaced(killed)
    state = await importing.state()
    assert state["products"] == state["skus"] == state["versions"] == count
    assert state["units"] == units
    said, peak_again = await ended(importing.start())
    assert f"nothing changed; all {count:,} rows" in said
    assert await importing.state() == state
    services = [peak_kib(part.pid) for part in mesh.parts("product") if part.pid]
    assert max(peak, peak_again, *services) <= MOST_MEMORY_KIB, (peak, peak_again, services)
