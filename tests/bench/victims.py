"""What each attack of tests/attacks costs another caller: `python -m tests.bench.victims [SECONDS] [NAME …]`.

Each row is one attack beside the same victim in peace, just before: the ratio of the two p99 is what counts.
"""

import asyncio
import sys
from collections.abc import Sequence

from tests.attacks.attacker import ATTACKS, Attacker, running_attacker
from tests.attacks.scene import Scene, set_scene
from tests.attacks.test_victims import recovered, together
from tests.attacks.victim import Experience
from tests.support.stack import running_stack

_SECONDS = 4.0


def main() -> None:
    """Measure the attacks that are named, or all."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else _SECONDS
    with running_stack("--no-keep-answers") as stack, running_attacker() as attacker:

        async def measure() -> None:
            async with set_scene(stack) as scene:
                await scene.victim.shop(1.0)
                await _measure_all(scene, attacker, sys.argv[2:] or list(ATTACKS), seconds)

        asyncio.run(measure())


async def _measure_all(scene: Scene, attacker: Attacker, names: Sequence[str], seconds: float) -> None:
    print(f"{'attack':55} {'reads p99, ms':>22} {'orders p99, ms':>22} failed")
    for name in names:
        quiet = await scene.victim.shop(seconds)
        visit, _ = await together(scene, attacker, name, seconds)
        await recovered(scene)
        reads, orders = _compared(quiet.reads, visit.reads), _compared(quiet.orders, visit.orders)
        print(f"{name:55} {reads:>22} {orders:>22} {len(visit.failures):>6}", flush=True)


def _compared(quiet: Experience, attacked: Experience) -> str:
    before, then = (1000 * each.percentile_seconds(0.99) for each in (quiet, attacked))
    return f"{before:.0f} → {then:.0f} ({then / before:.1f}x)"


if __name__ == "__main__":
    main()
