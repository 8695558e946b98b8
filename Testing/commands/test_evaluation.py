"""The command evaluate."""


def test_segment_then_evaluate(run, data, model, tmp_path):
    for case in ("simulated_1", "simulated_2"):
        run("segment", "--case", data / case, "--out", tmp_path / "predictions", "--model", model)
    code, answer = run(
        "evaluate", "--data", data, "--predictions", tmp_path / "predictions", "--out", tmp_path / "s.csv"
    )
    assert code == 0, answer
    assert (tmp_path / "s.csv").read_text().count("simulated_1") >= 1
