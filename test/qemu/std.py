#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Runs Go's own tests as unikernels, several at a time, and prints a table: package, CPUs, passed,
failed, skipped and unsupported. Needs what scripts/test builds. Status 1 when a test passes on the
host and not inside."""

import argparse
import concurrent.futures
import itertools
import shutil
import sys
import time

import guest
import stdtests


def main():
    parser = argparse.ArgumentParser(description="Go's own tests as unikernels.")
    parser.add_argument(
        "package", nargs="*", help="package or pattern (the list of the project's tests)"
    )
    parser.add_argument("--cpus", default="1,4", help="numbers of CPUs, with commas between (1,4)")
    parser.add_argument("-j", type=int, default=2, metavar="N", help="guests at a time (2)")
    parser.add_argument(
        "--timeout", type=int, default=1800, metavar="S", help="seconds for each guest (1800)"
    )
    parser.add_argument("-m", default="1G", metavar="SIZE", help="memory of each guest (1G)")
    parser.add_argument("-v", action="store_true", help="say what each failed test said")
    options = parser.parse_args()

    # A folder of its own, so that scripts/test may run meanwhile.
    guest.BUILD = guest.ROOT / "build" / "test-std"
    shutil.rmtree(guest.BUILD, ignore_errors=True)
    guest.BUILD.mkdir(parents=True)
    packages = stdtests.expand(options.package or stdtests.LONG_LIST)
    bad = 0
    print(
        f"{'package':<40} {'cpus':>4} {'passed':>6} {'failed':>6} {'skipped':>7} "
        f"{'unsupported':>11} {'seconds':>7}"
    )
    try:
        with concurrent.futures.ThreadPoolExecutor(options.j) as pool:

            def one(package, folder, cpus):
                begin = time.monotonic()
                return (
                    stdtests.compare(package, folder, cpus, options.timeout, options.m),
                    time.monotonic() - begin,
                )

            jobs = [
                pool.submit(one, package, folder, int(cpus))
                for package, folder in packages.items()
                for cpus in options.cpus.split(",")
            ]
            for job in concurrent.futures.as_completed(jobs):
                c, seconds = job.result()
                bad += not c.good
                print(
                    f"{c.package:<40} {c.cpus:>4} {c.passed:>6} {len(c.failed):>6} {c.skipped:>7} "
                    f"{len(c.unsupported):>11} {seconds:>7.0f}",
                    flush=True,
                )
                if c.trouble:
                    print(f"    {c.trouble}" if options.v else f"    {c.trouble.splitlines()[0]}")
                for test, said in itertools.islice(c.failed.items(), None if options.v else 10):
                    print(f"    failed: {test}: {said if options.v else said.splitlines()[0]}")
                for test, reason in c.unsupported.items():
                    if "/" not in test:
                        print(f"    unsupported: {test}: {reason}")
    finally:
        guest.end_all()
    print(f"{len(jobs) - bad} of {len(jobs)} runs as on the host")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
