"""Looks up every installed package in the advisory database with `pip-audit --strict`, or says that it cannot.

Exit code 1 for a known vulnerability. Where the database does not answer, that is said loudly and the exit code is 0,
or 3 with `--required`: a known vulnerable release is asked first, so that silence is never taken for health.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

CANARY = "jinja2==2.4.1"
"""A release with published vulnerabilities."""
SERVICES = ("pypi", "osv")
SECONDS = 300
OURS = "stationmaster"


def main() -> int:
    """Audits with the first service that knows the canary."""
    for service in SERVICES:
        code, found, said = audit(service, [CANARY])
        if found:
            return report(service)
        print(f"pip-audit: the service {service!r} does not answer (exit code {code}): {said[-200:].strip()}")
    print("pip-audit: NOT AUDITED. No advisory service can be reached from here; run `make lint` where one can.")
    return 3 if "--required" in sys.argv else 0


def report(service: str) -> int:
    """Prints what is known of the installed packages; 1 when something is."""
    packages = installed()
    code, found, said = audit(service, packages)
    for line in found:
        print(f"pip-audit: {line}")
    if not found and code != 0:
        print(f"pip-audit: failed: {said[-500:].strip()}")
    print(f"pip-audit: {len(packages)} packages at {service!r}, {len(found)} known vulnerabilities.")
    return 1 if found or code != 0 else 0


def installed() -> list[str]:
    """Every installed distribution, pinned; builds such as `+cpu` count as the release that they are made from."""
    names = ((item.metadata["Name"], item.version.partition("+")[0]) for item in metadata.distributions())
    return sorted({f"{name}=={version}" for name, version in names if name and name != OURS})


def audit(service: str, packages: list[str]) -> tuple[int, list[str], str]:
    """Exit code, vulnerabilities in a line each, and what was said besides."""
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "packages.txt")
        listed.write_text("\n".join(packages) + "\n", "utf-8")
        options = ("--strict", "--no-deps", "--disable-pip", "--progress-spinner=off", "--format=json", "--timeout=20")
        command = [sys.executable, "-m", "pip_audit", *options, f"--vulnerability-service={service}", "-r", str(listed)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            return 124, [], f"no answer within {SECONDS} s"
    try:
        known = json.loads(done.stdout).get("dependencies", [])
    except (ValueError, AttributeError):
        known = []
    lines = [f"{one['name']} {one['version']}: {bug['id']}" for one in known for bug in one.get("vulns", [])]
    return done.returncode, lines, done.stderr


if __name__ == "__main__":
    sys.exit(main())
