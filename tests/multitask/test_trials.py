"""Notebook 04's trainings: the plan, the loss, what stays and what is kept, killed runs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy import stats
from torch import Tensor

from lib.data.drawn.faces import ATTRIBUTES
from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.engine.artefacts import NotStored
from lib.engine.profiles import PROFILES, load_profile
from lib.engine.sweep import Context, Store, execute, trial_key
from lib.multitask import analysis, measures
from lib.multitask import trials as study
from lib.multitask.measures import (
    attribute_scores,
    face_loss,
    landmark_errors,
    linear_cka,
    linear_probe,
    predict,
    stream_features,
)
from lib.multitask.networks import SHARED, Separation
from lib.multitask.trials import MultiTaskStudy, load_network, run_multitask, trained
from lib.networks.sizes import count_parameters

SIZES = replace(
    load_profile(MultiTaskStudy, "quick"),
    size=48,
    train=64,
    test=40,
    epochs=2,
    widths=(4, 4, 6, 6),
    hidden=16,
    moved=True,
    probed=40,
)
COUNT = len(ATTRIBUTES)
STEPS = 2  # an epoch of 64 faces in batches of 32
COPIED = (study.LONG, study.WEIGHTED, study.COPIES, study.TUNED)
FROZEN = (study.SMTN, study.CONV, study.TUNED, study.LOOSE, study.RANDOM, study.LATE_SMTN)


PAPER = load_profile(MultiTaskStudy, "paper")
TRIALS = study.variants(SIZES, 0)


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Context:
    """One store of artefacts: each network is trained once."""
    torch.set_num_threads(1)
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("store"))


@pytest.fixture
def labels(monkeypatch) -> list[tuple[str, object]]:
    """Network and checkpoint of every training that takes place."""
    seen, inner = [], measures.train

    def watched(*given, **options):
        seen.append((options["label"], options["checkpoint"]))
        return inner(*given, **options)

    monkeypatch.setattr(measures, "train", watched)
    return seen


def weights(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: each for name, each in kept.items() if name.startswith("model.")}


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    """All but the seconds, to the bit."""
    return first.keys() == second.keys() and all(
        torch.equal(each, second[name]) for name, each in first.items() if name != "seconds"
    )


# the plan


def test_the_paper_profile_is_the_papers():
    first = study.variants(PAPER, 0)[study.BASELINE]
    assert (first.faces.name, first.faces.size, first.faces.tests) == ("celeba", 128, ("test",))
    assert (first.faces.train, first.faces.test) == (0, 0)
    assert (first.batch, first.epochs, first.momentum) == (32, 100, 0.9)
    assert (first.landmark_weight, first.falling, first.moved) == (1, 0, False)
    rates = {name: trial.lr for name, trial in study.variants(PAPER, 0).items()}
    assert rates.pop(study.WEIGHTED) == pytest.approx(1e-4)  # of landmarks that count tenfold
    assert set(rates.values()) == {1e-3}
    assert len(study.KINDS[study.PAPER]) == 4


@pytest.mark.parametrize("profile", PROFILES)
def test_a_long_run_takes_every_trial_once_and_what_it_needs_first(profile):
    sizes = load_profile(MultiTaskStudy, profile)
    every = study.all_variants(sizes)
    others = len(study.VARIANTS) - len(study.DECISIVE) - 1
    decisive = sizes.seeds * len(study.DECISIVE) + sizes.seeds_of_single
    assert len(every) == decisive + sizes.seeds_of_others * others
    looks = study.separation_trials(sizes)
    assert {look.of for look in looks} <= {trial for _, trial in every}
    taken = list(study.evidence(sizes))
    assert len({trial_key(trial) for _, trial in taken}) == len(taken) == len(every) + len(looks)
    seen = set()
    for function, trial in taken:
        if function is study.run_separation:
            assert {trial.of, trial.beside} <= seen | {None}
        else:
            assert trial.stage1 in seen | {None}
            assert trial.stage1 is None or trial.stage1.seed == trial.seed
        seen.add(trial)


def test_a_long_run_ends_one_seed_before_it_begins_another():
    """Of the decisive variants first, with their looks, then of the others."""
    sizes = load_profile(MultiTaskStudy, "medium")
    trials = [trial for function, trial in study.evidence(sizes)]
    seeds = [getattr(trial, "of", trial).seed for trial in trials]
    looked_at = len(set(study.DECISIVE) & set(study.LOOKED_AT))
    decisive = (len(study.DECISIVE) + looked_at) * sizes.seeds + 2 * sizes.seeds_of_single
    assert seeds == sorted(seeds[:decisive]) + sorted(seeds[decisive:])
    assert set(seeds[:decisive]) == set(range(10)) and set(seeds[decisive:]) == set(range(3))


def test_ten_seeds_hold_out_ten_tenths():
    """Every trial of a seed the same one, and stage 1's with it."""
    sizes = load_profile(MultiTaskStudy, "medium")
    for seed in (0, 3, 9, 12):
        trials = study.variants(sizes, seed).values()
        assert {trial.faces.fold for trial in trials} == {seed % 10}
        assert {t.stage1.faces.fold for t in trials if t.stage1} == {seed % 10}
    assert {trial.faces.fold for _, trial in study.all_variants(PAPER)} == {0}


def test_drawn_faces_are_cropped_as_photographs_are():
    """A smaller set is a beginning; a crop holds its landmarks, and moves with them."""
    faces, fewer = (study.drawn_crops("test", size=32, count=count) for count in (40, 5))
    assert faces.images.shape == (40, 3, 32, 32) and faces.images.dtype == torch.uint8
    assert torch.equal(fewer.images, faces.images[:5])
    assert torch.equal(fewer.landmarks, faces.landmarks[:5])
    whole = study.load_faces("drawn_faces", "test", size=study.DRAWN_SIZE, count=40)
    assert torch.equal(faces.attributes, whole.attributes)
    pixels = faces.landmarks * faces.extent[:, None] - study.DRAWN_SIZE * whole.landmarks
    torch.testing.assert_close(pixels, pixels.round(), atol=1e-3, rtol=0)  # by whole pixels
    torch.testing.assert_close(pixels, pixels[:, :1].expand(-1, 5, -1), atol=1e-3, rtol=0)
    across = (faces.landmarks.amax(1) - faces.landmarks.amin(1)).amax(1)
    assert across.min() > 1 / 2.6 / 1.08 and across.max() < 1 / 2.6 / 0.92
    middle = (faces.landmarks.amax(1) + faces.landmarks.amin(1)) / 2
    assert (middle - 0.5).abs().max() < 0.06
    # what the crop shows is what the picture has there
    for place in range(3):
        left, top = (-pixels[place, 0]).round().int().tolist()
        side = int(faces.extent[place, 0])
        if min(left, top) >= 0 and max(left, top) + side <= study.DRAWN_SIZE:
            cut = whole.images[place, :, top : top + side, left : left + side].float()
            assert float((cut.mean() - faces.images[place].float().mean()).abs()) < 2


def test_a_fold_reaches_the_faces(monkeypatch):
    asked = []
    monkeypatch.setattr(study, "load_faces", lambda *given, **options: asked.append(options))
    task = study.face_task(load_profile(MultiTaskStudy, "medium"), 4)
    study.faces_of(task, "test", Context(torch.device("cpu")))
    assert asked[0]["fold"] == 4


def test_the_papers_four_variants():
    first, smtn, conv, tuned = (TRIALS[name] for name in study.KINDS[study.PAPER])
    assert (first.network, first.stage1) == ("hard sharing", None)
    for each in (smtn, conv, tuned):
        assert (each.network, each.frozen, each.shared) == ("separation", True, "stage 1")
        assert each.stage1 == first
    assert [each.fusion for each in (smtn, conv, tuned)] == ["concat", "conv1x1", "conv1x1"]
    assert [each.copied for each in (smtn, conv, tuned)] == [False, False, True]


def test_untrained_networks_need_no_stage_1(labels, monkeypatch):
    """Nor faces, to count weights and multiplications."""
    monkeypatch.setattr(study, "load_faces", None)
    for name, trial in TRIALS.items():
        assert count_parameters(study.untrained(trial)) > 0, name
    assert labels == []


LR = {"lr"}  # chosen for each kind of arm


@pytest.mark.parametrize(
    ("first", "second", "fields"),
    [
        (study.SMTN, study.CONV, {"fusion"}),
        (study.CONV, study.TUNED, {"copied", "pass_own"} | LR),
        (study.CONV, study.LOOSE, {"copied"} | LR),
        (study.LOOSE, study.TUNED, {"pass_own"}),
        (study.LONG, study.WEIGHTED, {"landmark_weight"} | LR),
        (study.LONG, study.COPIES, {"network"}),
        (study.SMTN, study.RANDOM, {"shared", "stage1"}),
        (study.SINGLE, study.STITCH, {"network"}),
        (study.SINGLE, study.ATTENTION, {"network"}),
        (study.SINGLE, study.JOINT, {"network", "fusion"}),
        (study.BASELINE, study.LONG, {"stage1", "copied"} | LR),
        (study.BASELINE, study.WIDE, {"widths", "epochs"} | LR),
        (study.BASELINE, study.LATE, {"late"}),
        (study.SMTN, study.LATE_SMTN, {"late", "stage1"}),
    ],
)
def test_a_control_differs_in_one_thing(first, second, fields):
    rates = study.Rates(random=0.1, stage1=0.2, wide=0.3)
    trials = study.variants(replace(SIZES, lr=rates), 0)
    one, other = (vars(trials[name]) for name in (first, second))
    assert {name for name, value in one.items() if value != other[name]} == fields


def test_no_variant_has_more_training_than_the_two_stages():
    for name, trial in TRIALS.items():
        before = trial.stage1.epochs if trial.stage1 else 0
        stages = 1 if name in (study.BASELINE, study.RANDOM, study.LATE) else 2
        assert before + trial.epochs == stages * SIZES.epochs, name


@pytest.mark.parametrize("profile", PROFILES)
def test_the_wide_control_has_as_many_weights(profile):
    trials = study.variants(load_profile(MultiTaskStudy, profile), 0)
    with torch.device("meta"):
        wide, smtn = (study.untrained(trials[name]) for name in (study.WIDE, study.SMTN))
    assert count_parameters(wide) == pytest.approx(count_parameters(smtn), rel=0.03)


# the loss


def made_up(attributes: list[list[int]]) -> Faces:
    """Faces with all landmarks in the middle."""
    labels = torch.tensor(attributes, dtype=torch.int8)
    count = len(labels)
    return Faces(
        torch.zeros(count, 3, 8, 8, dtype=torch.uint8),
        torch.full((count, 5, 2), 0.5),
        labels,
        torch.full((count, 2), 8.0),
        tuple(map(str, range(count))),
        tuple(map(str, range(labels.shape[1]))),
    )


def loss_of(faces: Faces, outputs: dict[str, Tensor], index: list[int], weight=1.0) -> Tensor:
    loss = face_loss(weight)
    batch = torch.zeros(len(index), 3, 8, 8), faces.landmarks[index], faces.attributes[index]
    return loss(lambda images: outputs, batch)


def test_the_loss_by_hand():
    """Of faces 2 and 0: a nose .06 and .08 of the width off, and three logits."""
    faces = made_up([[1, UNKNOWN], [0, 0], [0, 1]])
    landmarks = torch.zeros(2, 10)  # from -1 to 1: the middle
    landmarks[0, 4:6] = torch.tensor([2 * 0.06, 2 * 0.08])
    logits = torch.tensor([[0.0, 2.0], [-1.0, 5.0]], requires_grad=True)
    near = 0.2**2 / 5 / 2  # one of five landmarks of one of two faces
    cross = (np.log(2) + np.log1p(np.exp(-2)) + np.log1p(np.exp(1))) / 3
    outputs = {"landmarks": landmarks, "attributes": logits}
    found = loss_of(faces, outputs, [2, 0])
    assert float(found.detach()) == pytest.approx(near + cross, rel=1e-5)
    assert float(loss_of(faces, outputs, [2, 0], weight=10).detach()) == pytest.approx(
        10 * near + cross
    )
    found.backward()
    assert logits.grad[1, 1] == 0 and (logits.grad.flatten()[:3] != 0).all()
    # the derivative of the cross entropy: share less truth, mean of three
    assert float(logits.grad[1, 0]) == pytest.approx((1 / (1 + np.e) - 1) / 3, rel=1e-5)


def test_where_nothing_is_known_landmarks_count_alone():
    outputs = {"landmarks": torch.full((1, 10), 0.1), "attributes": torch.ones(1, 2)}
    found = loss_of(made_up([[UNKNOWN, UNKNOWN]]), outputs, [0])
    assert float(found) == pytest.approx(2 * 0.1**2, rel=1e-5)


# before training


def test_biases_are_the_trivial_predictions(context):
    faces = study.faces_of(TRIALS[study.BASELINE].faces, "train", context)
    shape = faces.landmarks.double().numpy().mean(0)
    rate = (faces.attributes == 1).float().sum(0).add(1) / (len(faces) + 2)
    for name in (study.BASELINE, study.SMTN, study.SINGLE, study.STITCH, study.ATTENTION):
        network = study.build(TRIALS[name], context)
        for head in network.heads.values():
            head[-1].weight.data.zero_()
        found = predict(network, faces.images[:5])
        assert found["landmarks"].numpy() == pytest.approx(
            np.broadcast_to(shape, (5, 5, 2)), abs=1e-5
        )
        torch.testing.assert_close(found["attributes"].sigmoid(), rate.expand(5, -1))


def test_a_random_frozen_stream_is_settled(context):
    """With the statistics of training faces; those of stage 1 come with its weights.

    Else its maps would shrink from layer to layer.
    """
    network, raw = study.build(TRIALS[study.RANDOM], context), study.untrained(TRIALS[study.RANDOM])
    random = network.streams[SHARED]
    assert network.training and not random.training
    assert all(layer[1].num_batches_tracked == 1 for layer in random)
    images = study.faces_of(TRIALS[study.BASELINE].faces, "train", context).images
    shown = images[: study.SETTLED].float() / 255
    convolution, norm, *_ = random[0]
    maps = convolution(shown).detach()
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, maps.var((0, 2, 3)), atol=1e-5, rtol=1e-3)
    last, other = (float(of.features(shown)[SHARED][-1].std()) for of in (network, raw))
    assert 0.3 < last < 3 and other < 0.3 * last
    first = study.load_network(TRIALS[study.BASELINE], context).streams[SHARED]
    taken = study.build(TRIALS[study.SMTN], context).streams[SHARED]
    for name, each in first.state_dict().items():
        assert torch.equal(each, taken.state_dict()[name]), name
    assert taken[0][1].num_batches_tracked == STEPS * SIZES.epochs


def test_prediction_is_in_batches_and_in_evaluation_mode(context, monkeypatch):
    network = load_network(TRIALS[study.BASELINE], context).train()
    images = study.faces_of(TRIALS[study.BASELINE].faces, "test", context).images
    whole = predict(network, images)
    assert whole["landmarks"].shape == (40, 5, 2) and whole["attributes"].shape == (40, COUNT)
    monkeypatch.setattr(measures, "EVALUATION_BATCH", 7)
    for task, each in predict(network.train(), images).items():
        torch.testing.assert_close(each, whole[task], atol=1e-5, rtol=1e-4)
    raw = network.eval()(images.float() / 255)["landmarks"].detach()
    torch.testing.assert_close(2 * whole["landmarks"].flatten(1) - 1, raw, atol=1e-5, rtol=1e-4)


# after training


@pytest.mark.parametrize("name", study.VARIANTS)
def test_records(name, context):
    record = run_multitask(TRIALS[name], context)
    assert json.loads(json.dumps(record)) == record
    assert record["train_images"] == 64 and record["test_images"] == 40
    assert record["train_seconds"] > 0 and record["macs"] > 0
    assert (record["trained_parameters"] < record["parameters"]) == (name in FROZEN)
    assert record["moved"] == 0
    if name in COPIED:
        assert record["gap"] < 1e-5
    elif TRIALS[name].stage1:
        assert record["gap"] > 1e-3
    else:
        assert record["gap"] == 0


@pytest.mark.parametrize("name", [study.BASELINE, study.TUNED])
def test_the_curve_ends_at_what_is_kept(name, context):
    trial = TRIALS[name]
    kept, record = trained(trial, context), run_multitask(trial, context)
    truth = study.faces_of(trial.faces, "test", context)
    errors = landmark_errors(kept["test.landmarks"], truth.landmarks, (48, 48)).mean(0)
    accuracy = attribute_scores(kept["test.attributes"], truth.attributes)["accuracy"].mean()
    assert kept["curve"].shape == (2, 6) and kept["curve"].isfinite().all()
    assert kept["curve"][-1].numpy() == pytest.approx([*errors, accuracy], rel=1e-5)
    assert not torch.equal(kept["curve"][0], kept["curve"][1])
    assert record["test_nme"] == pytest.approx(errors.mean(), rel=1e-5)
    assert record["test_accuracy"] == pytest.approx(accuracy, rel=1e-5)
    stored = pd.DataFrame(record["curve"])
    assert list(stored) == [*LANDMARKS, "accuracy"]
    assert stored.to_numpy() == pytest.approx(kept["curve"].numpy(), abs=1e-6)
    for task, each in predict(load_network(trial, context), truth.images).items():
        torch.testing.assert_close(kept[f"test.{task}"], each, atol=1e-5, rtol=1e-4)


def test_multiplications_by_hand(context):
    """3 x 3 convolutions at 48, 24, 12 and 6 px; heads on 6 maps of 3 x 3."""
    sides = [(3, 4, 48), (4, 4, 24), (4, 6, 12), (6, 6, 6)]
    convolutions = sum(9 * inputs * outputs * side**2 for inputs, outputs, side in sides)
    heads = 2 * 6 * 9 * 16 + 16 * (10 + COUNT)
    records = [run_multitask(TRIALS[name], context) for name in (study.BASELINE, study.SINGLE)]
    assert [record["macs"] for record in records] == [
        convolutions + heads,
        2 * convolutions + heads,
    ]


def test_training_changes_what_it_should(context):
    for name in (study.SMTN, study.TUNED, study.JOINT):
        before = study.build(TRIALS[name], context).state_dict()
        after = weights(trained(TRIALS[name], context))
        assert len(before) == len(after)
        for key, each in before.items():
            still = torch.equal(each, after[f"model.{key}"])
            assert still == (name != study.JOINT and key.startswith("streams.shared.")), key


def test_it_learns(context):
    """Hard sharing for longer: better than the mean shape on faces it has seen."""
    larger = {"widths": (8, 16, 32), "hidden": 128, "batch": 16}
    trial = replace(TRIALS[study.BASELINE], epochs=40, moved=False, **larger)
    faces = study.faces_of(trial.faces, "train", context)
    truth = faces.landmarks.numpy()
    found = predict(load_network(trial, context), faces.images)["landmarks"].numpy()
    trivial = np.broadcast_to(truth.mean(0), truth.shape)
    errors = [landmark_errors(each, truth, (48, 48)).mean() for each in (found, trivial)]
    assert errors[0] < 0.6 * errors[1]


def test_a_weight_of_the_landmarks_is_heard(context):
    long, weighted = (trained(TRIALS[name], context) for name in (study.LONG, study.WEIGHTED))
    assert not same(weights(long), weights(weighted))


def test_the_rate_falls_to_nothing_in_the_last_share(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(measures, "train", lambda *_, schedule, **__: seen.append(schedule))
    for falling in (0.5, 0.0):
        trained(replace(TRIALS[study.BASELINE], falling=falling), Context(torch.device("cpu")))
    falls, stays = seen
    assert [falls(done) for done in (0, 0.4, 0.5, 0.75, 1)] == pytest.approx([1, 1, 1, 0.5, 0])
    assert [stays(done) for done in (0, 0.5, 1)] == [1, 1, 1]


def test_a_frozen_stream_that_moves_is_told(context, tmp_path, monkeypatch):
    """Where only its gradients are stopped, batch norms go on."""
    trained(TRIALS[study.BASELINE], context)
    key = f"{trial_key(TRIALS[study.BASELINE])}.safetensors"
    (tmp_path / key).write_bytes((context.artefacts / key).read_bytes())
    monkeypatch.setattr(Separation, "train", torch.nn.Module.train)
    record = run_multitask(TRIALS[study.SMTN], replace(context, artefacts=tmp_path))
    assert record["moved"] > 1e-3


# what is kept


def test_every_training_has_a_checkpoint_of_its_own(tmp_path, labels):
    """Stage 1 is trained once, and neither resumes from the file of the trial that needs it."""
    context = Context(torch.device("cpu"), tmp_path / "caller.checkpoint", artefacts=tmp_path)
    run_multitask(TRIALS[study.SMTN], context)
    first, second = (
        tmp_path / f"{trial_key(TRIALS[n])}.checkpoint" for n in (study.BASELINE, study.SMTN)
    )
    assert labels == [("HardSharing", first), ("Separation", second)]
    for name in (study.BASELINE, study.SMTN):
        run_multitask(TRIALS[name], context)
    assert len(labels) == 2 and not list(tmp_path.glob("*.checkpoint"))


def test_a_look_whose_networks_are_gone_trains_each_with_its_own_checkpoint(tmp_path, labels):
    look = study.SeparationTrial(of=TRIALS[study.SINGLE], probed=40, beside=TRIALS[study.BASELINE])
    context = Context(torch.device("cpu"), tmp_path / "look.checkpoint", artefacts=tmp_path)
    study.run_separation(look, context)
    assert [label for label, _ in labels] == ["HardSharing", "Independent"]
    assert len({file for _, file in labels} | {context.checkpoint}) == 3


def test_the_same_again_in_another_folder(context, tmp_path, labels):
    torch.manual_seed(99)  # whatever was drawn before
    for name in (study.BASELINE, study.SMTN, study.TUNED):
        again = trained(TRIALS[name], replace(context, artefacts=tmp_path))
        assert same(again, trained(TRIALS[name], context))
    assert [label for label, _ in labels] == ["HardSharing", "Separation", "Separation"]
    other = trained(study.variants(SIZES, 1)[study.BASELINE], replace(context, artefacts=tmp_path))
    assert not same(weights(other), weights(trained(TRIALS[study.BASELINE], context)))


def test_a_record_in_the_store(context):
    execute(run_multitask, TRIALS[study.TUNED], str(context.artefacts), "cpu", None)
    record = Store(context.artefacts).read(TRIALS[study.TUNED])
    assert record["status"] == "ok", record["error"]
    rows = Store(context.artefacts).table([TRIALS[study.TUNED]])
    assert rows["pass_own"].tolist() == [True] and rows["frozen"].tolist() == [True]


class Killed(BaseException):
    """As a signal: no handler of exceptions sees it."""


@pytest.mark.parametrize("name", [study.BASELINE, study.TUNED, study.RANDOM])
def test_a_killed_training_ends_as_one_that_was_not(name, context, tmp_path, monkeypatch):
    """Weights, statistics, momentum and the curve; killed in epoch 7, its checkpoint is of 5."""
    trial = replace(TRIALS[name], epochs=8)
    whole = trained(trial, context)
    if trial.stage1:
        key = f"{trial_key(trial.stage1)}.safetensors"
        (tmp_path / key).write_bytes((context.artefacts / key).read_bytes())
    seen, inner = [], measures.evaluate

    def watched(*given):
        if len(seen) == stop:
            raise Killed
        seen.append(inner(*given))
        return seen[-1]

    monkeypatch.setattr(measures, "evaluate", watched)
    elsewhere = replace(context, artefacts=tmp_path)
    checkpoint = tmp_path / f"{trial_key(trial)}.checkpoint"
    stop = 6
    with pytest.raises(Killed):
        trained(trial, elsewhere)
    assert checkpoint.exists()
    assert not (tmp_path / f"{trial_key(trial)}.safetensors").exists()
    stop, seen[:] = None, []
    again = trained(trial, elsewhere)
    assert len(seen) == 8 - 5
    assert same(again, whole)
    assert same(load_file(tmp_path / f"{trial_key(trial)}.safetensors"), whole)


# looks inside


def look(name: str, context: Context) -> dict:
    return study.run_separation(study.SeparationTrial(of=TRIALS[name], probed=40), context)


@pytest.mark.parametrize(
    ("name", "streams"),
    [
        (study.BASELINE, {"shared"}),
        (study.SMTN, {"shared", "landmarks", "attributes"}),
        (study.ATTENTION, {"shared", "landmarks", "attributes"}),
        (study.SINGLE, {"landmarks", "attributes"}),
    ],
)
def test_looks_have_every_stream_and_layer(name, streams, context):
    found = look(name, context)
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(look(name, context)))
    pairs = {(first, second) for first, second, *_ in found["cka"]}
    assert {frozenset(pair) for pair in pairs} == {
        frozenset((a, b)) for a in streams for b in streams if a < b
    }
    assert all(second != "shared" for _, second in pairs)  # the claims ask for (shared, task)
    assert len(found["cka"]) == 4 * len(pairs)
    assert {layer for _, _, layer, _ in found["cka"]} <= {1, 2, 3, 4}
    assert all(-1 <= value <= 1 + 1e-9 for *_, value in found["cka"])
    keys = [(stream, layer, task) for stream, layer, task, _ in found["probes"]]
    together = {f"shared + {other}" for other in streams - {"shared"} if "shared" in streams}
    assert len(set(keys)) == len(keys) == len(streams | together) * 4 * 2
    assert {stream for stream, *_ in keys} == streams | together
    assert {task for *_, task in keys} == {"landmarks", "attributes"}
    for *_, task, value in found["probes"]:
        assert value <= 1 and (task == "landmarks" or value >= 0)


def test_streams_that_never_met_are_looked_at_together(context):
    """Single-task networks beside the shared stream of stage 1 of their seed."""
    for trial, name in study.separation_trials(replace(SIZES, seeds=2, seeds_of_single=2)).items():
        first = study.variants(SIZES, trial.of.seed)[study.BASELINE]
        assert trial.beside == (first if name == study.SINGLE else None)
    single, first = TRIALS[study.SINGLE], TRIALS[study.BASELINE]
    trial = study.SeparationTrial(of=single, probed=40, beside=first)
    found = study.run_separation(trial, context)
    pairs = [tuple(row[:3]) for row in found["cka"]]
    assert [pair for pair in pairs if pair[2] == 1] == [
        ("shared", "landmarks", 1), ("shared", "attributes", 1), ("landmarks", "attributes", 1),
    ]  # fmt: skip
    test, train = (study.faces_of(single.faces, part, context) for part in ("test", "train"))
    one, other = (
        stream_features(load_network(t, context), test.images[:40]) for t in (first, single)
    )
    expected = linear_cka(one["shared"][2], other["landmarks"][2])
    assert found["cka"][2] == pytest.approx(("shared", "landmarks", 3, expected))
    # a probe is fitted on training faces
    fitted = stream_features(load_network(single, context), train.images[:40])["attributes"][3]
    points = train.landmarks[:40].numpy(), other["attributes"][3], test.landmarks[:40].numpy()
    expected = ("attributes", 4, "landmarks", linear_probe(fitted, *points))
    assert found["probes"][22] == pytest.approx(expected)
    alone = look(study.SINGLE, context)
    assert found["cka"][8:] == alone["cka"] and found["probes"][8:24] == alone["probes"]


def test_a_probe_of_two_streams_reads_both(context):
    """The landmarks' last layer beside the shared one, fitted together."""
    found = {tuple(row[:3]): row[3] for row in look(study.SMTN, context)["probes"]}
    parts = (study.faces_of(TRIALS[study.SMTN].faces, part, context) for part in ("train", "test"))
    network, given = load_network(TRIALS[study.SMTN], context), []
    for faces in parts:
        features = stream_features(network, faces.images[:40])
        both = np.hstack([features["landmarks"][3], features["shared"][3]])
        given += [both, faces.landmarks[:40].numpy()]
    key = ("shared + landmarks", 4, "landmarks")
    assert found[key] == pytest.approx(linear_probe(*given), abs=1e-6)


def test_features_are_the_maps_in_squares(context):
    network = load_network(TRIALS[study.SMTN], context)
    images = study.faces_of(TRIALS[study.SMTN].faces, "test", context).images[:9]
    found = stream_features(network, images)
    assert [layer.shape for layer in found["shared"]] == [(9, 64), (9, 64), (9, 96), (9, 54)]
    with torch.no_grad():
        maps = network.features(images.float() / 255)
    blocks = maps["landmarks"][0].reshape(9, 4, 4, 6, 4, 6).mean((3, 5)).flatten(1)
    assert found["landmarks"][0] == pytest.approx(blocks.numpy(), abs=1e-5)
    assert found["attributes"][3] == pytest.approx(maps["attributes"][3].flatten(1).numpy())


def test_tables_of_looks_by_hand():
    rows = [
        {"variant": "A", "seed": seed, "cka": [["shared", "points", 1, value]],
         "probes": [["shared", 2, "landmarks", 2 * value]]}
        for seed, value in enumerate([0.1, 0.2, 0.6])
    ]  # fmt: skip
    cka = analysis.by_seed(pd.DataFrame(rows), "cka")
    assert cka.to_numpy().tolist()[2] == ["A", 2, "shared", "points", 1, 0.6]
    table = analysis.over_seeds(cka)
    assert table[["variant", "first", "second", "layer", "n"]].to_numpy().tolist() == [
        ["A", "shared", "points", 1, 3]
    ]
    low, high = stats.t.interval(0.95, 2, 0.3, stats.sem([0.1, 0.2, 0.6]))
    ends = ["value", "low", "high"]
    assert table[ends].to_numpy()[0] == pytest.approx([0.3, low, high])
    probes = analysis.by_seed(pd.DataFrame(rows), "probes")
    table = analysis.over_seeds(probes)
    assert table[ends].to_numpy()[0] == pytest.approx([0.6, 2 * low, 2 * high])
    alone = analysis.over_seeds(probes.tail(1))
    assert alone[[*ends, "n"]].to_numpy().tolist() == [[1.2, 1.2, 1.2, 1]]
    with pytest.raises(FileNotFoundError, match="no record with cka"):
        analysis.by_seed(pd.DataFrame(), "cka")


def test_what_is_beyond_the_shared_stream():
    """Of seed 1 in layer 2: .9 of both less .6, and for another task .2 less .5."""
    rows = [
        {"variant": "A", "seed": seed, "probes": [
            ["shared", 2, "landmarks", 0.6 - seed], ["shared", 2, "attributes", 0.5],
            ["points", 2, "landmarks", 7], ["shared + points", 2, "landmarks", 0.9],
            ["shared + points", 2, "attributes", 0.2], ["shared", 1, "landmarks", 3],
        ]} for seed in (0, 1)
    ]  # fmt: skip
    found = analysis.beyond_shared(analysis.by_seed(pd.DataFrame(rows), "probes"))
    assert found["value"].tolist() == pytest.approx([0.3, -0.3, 1.3, -0.3])
    assert found.columns.tolist() == ["variant", "seed", "stream", "layer", "task", "value"]
    assert set(found["stream"]) == {"points"} and set(found["layer"]) == {2}


# from trainings to tables


def test_predictions_are_those_of_the_trainings(context):
    found = analysis.predictions(SIZES, "test", context)
    faces = study.faces_of(TRIALS[study.SMTN].faces, "train", context)
    shape, usual = (d[study.TRIVIAL][0][-1] for d in (found.landmarks, found.logits))
    assert shape == pytest.approx(faces.landmarks.double().numpy().mean(0))
    assert (usual > 0).tolist() == (faces.attributes.float().mean(0) > 0.5).tolist()
    assert set(found.errors) == set(found.logits) == {*study.VARIANTS, study.TRIVIAL}
    values = analysis.variant_table(found).set_index(["variant", "measure"])["value"]
    for name, trial in TRIALS.items():
        record = run_multitask(trial, context)
        expected = [100 * record["test_nme"], 100 * record["test_accuracy"]]
        assert values[name].tolist() == pytest.approx(expected, rel=1e-5)


def test_from_a_store_a_variant_has_the_first_seeds_that_were_kept(context):
    more = replace(SIZES, seeds=3)
    here = replace(context, stored=True)
    for seed, names in enumerate(([study.BASELINE, study.LONG], [study.BASELINE])):
        for name in names:
            trained(study.variants(more, seed)[name], context)
    trained(study.variants(more, 2)[study.LONG], context)  # and its stage 1; none of seed 1
    found = analysis.predictions(more, "test", here)
    assert len(found.errors[study.BASELINE]) == len(found.errors[study.TRIVIAL]) == 3
    assert len(found.errors[study.LONG]) == 1
    table = analysis.differences(found).set_index(["variant", "other", "measure"])
    assert table.loc[(study.BASELINE, study.TRIVIAL, "NME"), "n"] == 3
    assert table.loc[(study.LONG, study.BASELINE, "NME"), "n"] == 1
    nowhere = replace(here, artefacts=context.artefacts / "nothing")
    with pytest.raises(NotStored):
        analysis.predictions(more, "test", nowhere)


def test_curves_go_on_where_stage_1_ended(context):
    names = (study.BASELINE, study.LONG)
    rows = []
    for seed in (0, 1):
        for name, trial in study.variants(SIZES, seed).items():
            if name in names:
                record = run_multitask(trial, context)
                rows.append({"variant": name, **asdict(trial), **json.loads(json.dumps(record))})
    table = analysis.epoch_curves(pd.DataFrame(rows), names)
    assert table["measure"].unique().tolist() == [*LANDMARKS, "accuracy", "NME"]
    nme = table[table["measure"] == "NME"]
    assert nme["variant"].tolist() == [study.BASELINE] * 2 + [study.LONG] * 2
    assert nme["epoch"].tolist() == [1, 2, 3, 4]
    long = [study.variants(SIZES, seed)[study.LONG] for seed in (0, 1)]
    last = np.stack([trained(trial, context)["curve"][1].numpy() for trial in long])
    expected = {"NME": last[:, :5].mean(1), "nose": last[:, 2], "accuracy": last[:, 5]}
    for measure, values in expected.items():
        row = table[table["measure"] == measure].iloc[3]
        ends = values.mean(), values.min(), values.max()
        assert (row["value"], row["low"], row["high"]) == pytest.approx(ends, rel=1e-5), measure
    assert last[0, 2] != last[1, 2]
