"""Fine-tuning: what is trained and what is not, the schedule, the kept epoch, the record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lib.engine.batches import Mirrored
from lib.engine.sweep import Context
from lib.transfer import sources as study
from lib.transfer.sources import Recipe, Source, Stage, Task, fine_tune, load_source
from lib.transfer.trials import FineTuneTrial, run_fine_tuning, summarise

RECIPE = Recipe(epochs=3, lr=0.01, decay_every=2, batch=16, momentum=0.9, frozen=False)
TARGET = Task(name="objects", size=32, train=60, test=40)
THINGS = Task(name="things", size=32, train=40, test=20)
BLANK = Source(architecture="vgg5", width=4, weights="", vocabulary="colours")
STAGED = replace(BLANK, stages=(Stage(THINGS, RECIPE),))


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(torch.device("cpu"), artefacts=tmp_path)


def tuned(context, recipe, source=BLANK, seed=0):
    network = load_source(source, context)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    data = study.task_data(TARGET, context)
    correct, best = fine_tune(network, source, Stage(TARGET, recipe), data, seed)
    return before, network, correct, best


def test_names_are_those_of_the_papers_table():
    places = replace(BLANK, weights="places365")
    assert BLANK.name == "no training"
    assert places.name == "places365"
    assert replace(places, stages=(Stage(THINGS, RECIPE),)).name == "places365 & things"
    assert STAGED.name == "things"


def test_outputs_have_the_names_of_the_last_stage(context):
    assert len(study.source_names(BLANK, context)) == 10
    assert study.source_names(STAGED, context) == ("flower", "fish", "house", "car", "star")
    assert load_source(STAGED, context).head[-1].out_features == 5


def test_early_layers_stay_only_where_they_are_frozen(context):
    for frozen in (True, False):
        before, network, *_ = tuned(context, replace(RECIPE, frozen=frozen))
        after = network.state_dict()
        early = [
            n
            for n in before
            if n.startswith("layers.")
            and int(n.split(".")[1]) < network.kept
            and "mean" not in n
            and "std" not in n
        ]
        late = [
            n
            for n in before
            if n.startswith("layers.")
            and n.endswith("weight")
            and int(n.split(".")[1]) >= network.kept
        ]
        assert early
        assert late
        moved = [not torch.equal(before[n], after[n]) for n in early if n.endswith("weight")]
        assert any(moved) != frozen
        if frozen:  # not even the running statistics
            assert all(torch.equal(before[n], after[n]) for n in early)
        assert all(not torch.equal(before[n], after[n]) for n in late)


def test_kept_weights_give_the_best_accuracy_of_the_curve(context):
    _, network, correct, best = tuned(context, replace(RECIPE, epochs=6))
    data = study.task_data(TARGET, context)
    network.load_state_dict(best)
    with torch.no_grad():
        right = network.eval()(data.test_images.float() / 255).argmax(1) == data.test_labels
    assert right.sum() == correct.sum(1).max()


def test_fine_tuning_learns_and_is_the_same_again(context):
    recipe = replace(RECIPE, epochs=15, decay_every=8)
    correct = tuned(context, recipe)[2]
    assert correct.shape == (15, 40)
    assert correct[-1].float().mean() > 0.17  # chance is 0.1
    torch.rand(5)  # whatever was drawn before
    assert torch.equal(tuned(context, recipe)[2], correct)
    assert not torch.equal(tuned(context, recipe, seed=1)[2], correct)


def test_dropout_hangs_on_the_seed(context):
    source = replace(BLANK, architecture="mobilenet_v2")
    recipe = replace(RECIPE, epochs=1, frozen=True, lr=0.1)
    data = study.task_data(TARGET, context)
    states = []
    for _ in range(2):
        torch.rand(3)
        network = study.source_network("mobilenet_v2", 10, width=0, seed=0)
        fine_tune(network, source, Stage(TARGET, recipe), data, 0)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_learning_rate_falls_to_a_tenth_every_seventh_epoch():
    recipe = replace(RECIPE, epochs=30, decay_every=7)
    steps = 109
    found = [recipe.factor(step / (30 * steps)) for step in range(30 * steps)]
    expected = [0.1 ** (step // steps // 7) for step in range(30 * steps)]
    assert found == pytest.approx(expected)


def test_a_stage_starts_from_what_was_before(context):
    """Without epochs of learning rate it is what it was, with another head."""
    still = replace(RECIPE, epochs=1, lr=0.0, frozen=True)
    base = load_source(STAGED, context).state_dict()
    again = replace(STAGED, stages=(*STAGED.stages, Stage(TARGET, still)))
    found = load_source(again, context).state_dict()
    weights = [n for n in base if n.startswith("layers") and n.endswith("weight")]
    assert all(torch.equal(base[name], found[name]) for name in weights)
    assert found["head.2.weight"].shape[0] == 10


def test_a_source_is_kept(context, monkeypatch):
    first = load_source(STAGED, context).state_dict()
    monkeypatch.setattr(study, "fine_tune", None)
    again = load_source(STAGED, context).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_record(context):
    trial = FineTuneTrial(source=STAGED, target=TARGET, recipe=RECIPE)
    record = run_fine_tuning(trial, context)
    assert record["train_images"] == 60
    assert record["test_images"] == 40
    assert record["chance"] == pytest.approx(10)
    assert len(record["curve"]) == 3


def test_summary_by_hand():
    # six images, four epochs; the halves are the even and the odd ones
    correct = torch.tensor(
        [
            [0, 0, 0, 0, 0, 0],
            [1, 0, 1, 0, 1, 0],  # best of the even half
            [1, 1, 0, 1, 1, 1],  # best of the odd half and of all
            [1, 1, 0, 1, 1, 0],
        ],
        dtype=torch.bool,
    )
    found = summarise(correct)
    assert found["curve"] == [0, 50, pytest.approx(83.3333), pytest.approx(66.6667)]
    assert found["best"] == pytest.approx(500 / 6)
    assert found["best_epoch"] == 3
    # epoch 2 is chosen on the even half: 0 of the odd; epoch 3 on the odd one: 2 of 3 even
    assert found["chosen"] == pytest.approx(100 * (0 + 2 / 3) / 2)
    assert found["final"] == pytest.approx(400 / 6)
    assert found["reached"] == 3


def test_mirrored_batches_take_every_value_once_and_half_of_them_mirrored():
    plain = torch.arange(200.0).view(200, 1)
    batches = Mirrored(plain, -plain, batch=16, seed=3)
    assert len(batches) == 13
    index = torch.cat([batches(step)[0] for step in range(13)])
    values = torch.cat([batches(step)[1] for step in range(13)])[:, 0]
    assert sorted(index.tolist()) == list(range(200))
    assert torch.equal(values.abs(), index.float())
    assert 70 < (values < 0).sum() < 130
    again = torch.cat([batches(step)[0] for step in range(13, 26)])
    assert not torch.equal(again, index)


def test_mirrored_refuses_other_shapes():
    with pytest.raises(ValueError, match="same shape"):
        Mirrored(torch.zeros(3, 1), torch.zeros(2, 1), batch=1, seed=0)
