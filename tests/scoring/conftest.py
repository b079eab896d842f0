import json

import pytest

PEERS = {
    "baseline-ner": "organisers_T61_BaselineRun_NuNerZero.json",
    "baseline-bt": "organisers_T621_BaselineRun_ATLOP.json",
    "baseline-tt": "organisers_T622_BaselineRun_ATLOP.json",
    "baseline-tm": "organisers_T623_BaselineRun_ATLOP.json",
    "gut-instincts-ner": "gut-instincts_ner_dev.json",
    "gut-instincts-single": "gut-instincts_ner_single_dev.json",
    "gut-instincts-tt": "gut-instincts_tt_dev.json",
    "gut-instincts-tm": "gut-instincts_tm_dev.json",
}


@pytest.fixture(scope="session")
def dev(data_dir):
    path = data_dir / "gutbrainie" / "Annotations" / "Dev" / "json_format" / "dev.json"
    return json.loads(path.read_text(encoding="utf8"))


@pytest.fixture(scope="session")
def peers(data_dir):
    """Other teams' predictions on dev, by the names of PEERS."""
    folder = data_dir / "peers"
    return {
        name: json.loads((folder / file).read_text(encoding="utf8")) for name, file in PEERS.items()
    }
