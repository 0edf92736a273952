# SPDX-License-Identifier: Apache-2.0
"""What the digest costs for each frame: ns above an empty XDP program (BPF_PROG_TEST_RUN), next to a copy of the same
frame and to xxh64 of the same bytes, in the same run."""

import json
import subprocess

import figures


def main():
    arguments = figures.parser(__doc__).parse_args()
    conditions = figures.conditions()
    program = figures.BUILD / "tests/bench/digest/twinstep_bench_digest"
    rows = json.loads(subprocess.run([program], stdout=subprocess.PIPE, check=True).stdout)
    print(f"{'bytes':>6} {'digest':>8} {'memcpy':>8} {'xxh64':>8}   ns per packet")
    for row in rows:
        print(f"{row['payload_bytes']:>6} {row['digest_ns']:>8.0f} {row['memcpy_ns']:>8.0f} {row['xxh64_ns']:>8.0f}"
              f"   digest in {row['digest_in']}")
    figures.write(arguments.json, {"conditions": conditions, "rows": rows})


if __name__ == "__main__":
    main()
