# SPDX-License-Identifier: Apache-2.0
"""End to end: 1 % of the frames are lost, 1 % doubled and 1 % late, on the clients' side and on the link. `./test soak`
plays the same for ten minutes."""

import json
import os
import random
import unittest

from twinlab import soak
from twinlab.lab import Lab, default_build_directory

# Length and number of failovers; the soak sets them.
SECONDS = int(os.environ.get("TWINSTEP_SOAK_SECONDS", 45))
FAILOVERS = int(os.environ.get("TWINSTEP_SOAK_FAILOVERS", 2))


class LossesTest(unittest.TestCase):
    """The seed is printed and can be given in TWINSTEP_SOAK_SEED: then the same frames are hit, by their numbers."""

    def test_clients_see_neither_wrong_bytes_nor_resets(self):
        seed = int(os.environ.get("TWINSTEP_SOAK_SEED", random.SystemRandom().randrange(2**32)))
        print(f"seed {seed}", flush=True)
        with Lab(wire=True) as lab:
            try:
                result = soak.play(lab, seed, SECONDS, FAILOVERS, lambda text: print(text, flush=True))
                print(json.dumps(result), flush=True)
                self.assertEqual(result["problems"], [])
                self.assertGreater(result["connections_translated"], 0)
                for side, counters in result["losses"].items():
                    for fate in ("dropped", "duplicated", "delayed"):
                        self.assertGreater(counters[fate], 0, f"{side}: {fate}")
            except BaseException:
                lab.save_logs(f"{default_build_directory()}/lab-logs/test-losses")
                raise


if __name__ == "__main__":
    unittest.main()
