"""What the service stands on: pinned with hashes, licensed so that anyone may use it, justified by name, quick to start."""

import re
from importlib import metadata

import pytest

from tests.rig.service import ROOT

LICENCES = (
    "MIT",
    "BSD",
    "APACHE",
    "MPL",
    "MOZILLA",
    "PSF",
    "PYTHON SOFTWARE FOUNDATION",
    "ISC",
    "PERMISSION IS HEREBY GRANTED",
)  # MIT's own words, where a package says no more


def pins(name: str) -> dict[str, str]:
    """Package -> version of a requirements file, names as the index compares them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^ ;\\\n]+)", text)
    return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}


@pytest.mark.parametrize("name", ["requirements", "requirements-dev", "bench/requirements"])
def test_every_package_is_pinned_with_hashes_to_what_was_asked_for(name: str) -> None:
    locked = pins(f"{name}.txt")
    assert pins(f"{name}.in").items() <= locked.items()
    text = (ROOT / f"{name}.txt").read_text(encoding="utf-8")
    blocks = re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]
    assert len(blocks) == len(locked)
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in text  # no index of anybody's machine
    service, tests, bench = (
        pins(f"{place}.txt") for place in ("requirements", "requirements-dev", "bench/requirements")
    )
    assert service.items() <= tests.items() <= bench.items()


def test_every_direct_dependency_says_why_it_is_here() -> None:
    given = {"flask", "marshmallow", "peewee", "gunicorn", "requests", "python-dotenv"}
    page = (ROOT / "docs" / "decisions" / "0001-dependencies.md").read_text(encoding="utf-8").lower().replace("_", "-")
    wanted = (pins("requirements.in").keys() | pins("requirements-dev.in").keys()) - given
    assert [package for package in sorted(wanted) if package not in page] == []


def test_everything_that_the_service_runs_on_has_a_permissive_licence() -> None:
    unknown = []
    for package in pins("requirements.txt"):
        try:
            found = metadata.distribution(package)
        except metadata.PackageNotFoundError:  # of another system or Python
            continue
        about = found.metadata.json
        said = [about.get("license_expression", ""), about.get("license", ""), *about.get("classifier", [])]
        said += [str(path.read_text()) for path in found.files or [] if path.name.upper().startswith("LICEN")]
        if not any(licence in " ".join(map(str, said)).upper() for licence in LICENCES):
            unknown.append((package, said))
    assert unknown == []
