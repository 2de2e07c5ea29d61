"""What a hint says to install is true for how medgrpo was installed."""

import json

import pytest

from medgrpo import install


class Installed:
    def __init__(self, said):
        self.said = said

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.said and json.dumps(self.said)


@pytest.mark.parametrize(
    ("said", "command"),
    [
        (None, 'pip install "medgrpo[medical]"'),
        ({"url": "file:///home/me/my%20code/medgrpo", "dir_info": {"editable": True}},
         'pip install -e "/home/me/my code/medgrpo[medical]"'),
        ({"url": "file:///home/me/medgrpo", "dir_info": {}}, 'pip install "/home/me/medgrpo[medical]"'),
        ({"url": "file:///w/medgrpo-0.1.0-cp311-abi3-manylinux_2_17_x86_64.whl", "archive_info": {}},
         'pip install "/w/medgrpo-0.1.0-cp311-abi3-manylinux_2_17_x86_64.whl[medical]"'),
        ({"url": "https://host/medgrpo.git", "vcs_info": {"vcs": "git"}}, 'pip install "medgrpo[medical] @ git+https://host/medgrpo.git"'),
    ],
)  # fmt: skip
def test_the_command_is_that_of_the_place_it_pattern(said, command, monkeypatch):
    install._pattern.cache_clear()
    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Installed(said))
    assert install.how_to_install("medical") == command
    install._pattern.cache_clear()


def test_nothing_tells_people_to_install_what_is_not_published():
    from tests.conftest import ROOT

    told = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("medgrpo", "cli", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".toml") and path.name != "install.py"
        for line in path.read_text(encoding="utf-8").splitlines()
        if 'pip install "medgrpo[' in line or ("pip install medgrpo" in line and "medgrpo-*" not in line)
    ]
    assert not told
