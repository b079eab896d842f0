"""The loop by which encoders learn outside of a pipeline: rates, checkpoints and restart."""

import pytest
import torch

from spacy_bioie.training.encoder_steps import StepSettings, check_output, run_steps, summary

IDENTITY = {"data": "a"}


class Stopped(Exception):
    pass


def make_model():
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    model[0].bias.requires_grad_(False)
    return model


def losses_of(model, stop_at=None):
    def loss_of_step(step):
        if step == stop_at:
            raise Stopped
        rows = torch.randn((6, 4), generator=torch.Generator().manual_seed(step))
        for part in rows.split(3):
            yield ((model(part) - part.sum(1, keepdim=True)) ** 2).sum() / len(rows)

    return loss_of_step


def train(model, checkpoint, stop_at=None, identity=IDENTITY, n_steps=12, **settings):
    chosen = StepSettings(**{"learn_rate": 0.05, "checkpoint_every": 4, **settings})
    return run_steps(
        model,
        losses_of(model, stop_at),
        n_steps,
        chosen,
        checkpoint=checkpoint,
        identity=identity,
    )


def test_a_restart_gives_the_same_weights(tmp_path):
    path = tmp_path / "out.checkpoint"
    whole = make_model()
    expected = train(whole, path)
    assert len(expected) == 12 and not path.exists()
    stopped = make_model()
    with pytest.raises(Stopped):
        train(stopped, path, stop_at=10)
    assert path.is_file()
    again = make_model()
    assert train(again, path, resume=True) == expected
    assert not path.exists()
    for name, value in whole.state_dict().items():
        assert (value == again.state_dict()[name]).all(), name
    assert (make_model()[0].bias == whole[0].bias).all()  # needs no gradient


def test_without_resume_a_training_begins_anew(tmp_path):
    path = tmp_path / "out.checkpoint"
    with pytest.raises(Stopped):
        train(make_model(), path, stop_at=10)
    assert train(make_model(), path) == train(make_model(), path, resume=True)


def test_checkpoint_of_another_training(tmp_path):
    path = tmp_path / "out.checkpoint"
    with pytest.raises(Stopped):
        train(make_model(), path, stop_at=10)
    with pytest.raises(ValueError, match="its data is 'a', this one has 'b'"):
        train(make_model(), path, identity={"data": "b"}, resume=True)
    with pytest.raises(ValueError, match="its steps is 12, this one has 20"):
        train(make_model(), path, n_steps=20, resume=True)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="damaged or foreign"):
        train(make_model(), path, resume=True)


def test_rates_rise_and_fall():
    settings = StepSettings(1.0, warmup=0.2)
    rates = [settings.rate(step, 10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates == sorted(rates[:2]) + sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(1 / 8)
    assert StepSettings(1.0, warmup=0.0).rate(0, 1) == 1.0


def test_a_loss_that_is_no_number(tmp_path):
    model = make_model()
    with torch.no_grad():
        model[0].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="loss of step 1 is nan"):
        train(model, tmp_path / "out.checkpoint")


def test_wrong_settings():
    for settings, message in (
        ({"learn_rate": 0}, "learn_rate is 0"),
        ({"learn_rate": 1.0, "warmup": 1.0}, "warmup is 1.0"),
        ({"learn_rate": 1.0, "checkpoint_every": -1}, "checkpoint_every -1"),
    ):
        with pytest.raises(ValueError, match=message):
            StepSettings(**settings).check()


def test_output_folder(tmp_path):
    assert check_output(tmp_path / "new") == tmp_path / "new"
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        check_output(tmp_path / "file")
    with pytest.raises(ValueError, match="holds files, but no encoder"):
        check_output(tmp_path)


def test_summary():
    assert summary([3.0, 1.0, 5.0], parts=2) == [2.0, 5.0]
    assert summary([]) == []
