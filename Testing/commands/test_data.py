"""The command simulate."""

from ProtoSegBrainLib.simulation.simulate import simulate_case


def test_simulate_writes_a_case_once(run, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "ProtoSegBrainLib.simulation.simulate.simulate_case", lambda seed: simulate_case(seed, (32, 32, 24))
    )
    code, answer = run("simulate", "--out", tmp_path, "--seed", 7)
    assert code == 0
    assert answer == {"case_id": "simulated_7", "folder": str(tmp_path / "simulated_7"), "simulated": True}
    assert len(list((tmp_path / "simulated_7").glob("*.nii.gz"))) == 5
    assert run("simulate", "--out", tmp_path, "--seed", 7)[0] == 2
