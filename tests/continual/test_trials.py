"""Which trials notebook 01 is made of, what each starts from, and an order that can be run."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tiny_stream import SIZES, STREAM

from lib.continual.reasons import ClassifierTrial, PruneTrial
from lib.continual.trials import (
    STREAMS,
    TASKS,
    ContinualStudy,
    GatysTrial,
    TaskTrial,
    TrivialTrial,
    base,
    evidence,
    history,
    in_stream,
    parent,
    phases,
    planned,
)
from lib.engine.profiles import PROFILES, load_profile

EACH_PROFILE = pytest.mark.parametrize(
    "sizes", [load_profile(ContinualStudy, name) for name in PROFILES], ids=PROFILES
)


def trial(method: str, task: int, seed: int = 3, **changes) -> TaskTrial:
    return planned(SIZES, method, task, seed, **changes)


def name(trial: TaskTrial | None) -> str:
    """As "fine-tune 5 from 3"."""
    if trial is None:
        return ""
    return f"{trial.method} {trial.task}" + (f" from {trial.start}" if trial.start else "")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"method": "finetune"}, r"'scratch', 'fine-tune', .*not 'finetune'"),
        ({"method": ""}, "not ''"),
        ({"method": "scratch", "task": 0}, r"scratch has the tasks \(1, 2, 3, 4, 5\), not 0"),
        ({"method": "scratch", "task": 6}, "not 6"),
        ({"method": "fine-tune", "task": 1}, r"fine-tune has the tasks \(2, 3, 4, 5\), not 1"),
        ({"method": "piggyback", "task": 1, "norms": "frozen"}, r"\(2, 3, 4, 5\), not 1"),
        ({"method": "resblock", "task": 6, "norms": "batch"}, r"\(0, 1, 2, 3, 4, 5\), not 6"),
        ({"method": "resblock+piggyback", "task": 3, "norms": "batch"}, r"\(4,\), not 3"),
        ({"method": "piggyback"}, "piggyback has no norms ''"),
        ({"method": "piggyback", "norms": "batch"}, "piggyback has no norms 'batch'"),
        ({"method": "resblock"}, "resblock has no norms ''"),
        ({"method": "resblock", "norms": "frozen"}, "resblock has no norms 'frozen'"),
        ({"method": "resblock+piggyback", "task": 4, "norms": "affine"}, "no norms 'affine'"),
        ({"method": "decoder", "norms": "frozen"}, "decoder has no norms 'frozen'"),
        ({"method": "scratch", "loss": "l1"}, "scratch has no loss 'l1' for task 2"),
        ({"method": "resblock", "norms": "batch", "loss": "huber"}, "resblock has no loss 'huber'"),
        # it would be taken for a segmentation, or L2 be learned under another name
        ({"method": "resblock", "task": 3, "norms": "batch", "loss": "ce"}, "'ce' for task 3"),
        ({"method": "resblock", "task": 4, "norms": "batch", "loss": "adversarial"}, "for task 4"),
        ({"method": "resblock", "task": 0, "norms": "batch", "loss": "l1"}, "for task 0"),
        (
            {"method": "resblock+piggyback", "task": 4, "norms": "batch", "loss": "l1"},
            r"resblock\+piggyback has no loss 'l1'",
        ),
        ({"method": "fine-tune", "task": 5, "start": 5}, "fine-tune cannot start task 5 from 5"),
        ({"method": "fine-tune", "task": 5, "start": -1}, "from -1"),
        ({"method": "ewc", "task": 5, "start": 3}, "ewc cannot start task 5 from 3"),
        ({"method": "decoder", "task": 3, "scenes": "x"}, "only task 2 .* not task 3: 'x'"),
    ],
)
def test_bad_trials_are_refused(changes, named):
    with pytest.raises(ValueError, match=named):
        TaskTrial(**{"stream": STREAM, "task": 2, **changes})


@pytest.mark.parametrize(
    ("of", "starts_from", "met"),
    [
        (trial("scratch", 1), "", "scratch 1"),
        (trial("scratch", 3), "", "scratch 1, scratch 2, scratch 3"),
        (trial("fine-tune", 2), "scratch 1", "scratch 1, fine-tune 2"),
        (trial("fine-tune", 4), "fine-tune 3", "scratch 1, fine-tune 2, fine-tune 3, fine-tune 4"),
        (
            trial("fine-tune", 5, start=3),
            "fine-tune 3",
            "scratch 1, fine-tune 2, fine-tune 3, fine-tune 5 from 3",
        ),
        (trial("fine-tune", 3, start=1), "scratch 1", "scratch 1, fine-tune 3 from 1"),
        (trial("ewc", 2), "scratch 1", "scratch 1, ewc 2"),
        (trial("ewc", 4), "ewc 3", "scratch 1, ewc 2, ewc 3, ewc 4"),
        (trial("decoder", 3), "scratch 1", "scratch 1, decoder 2, decoder 3"),
        (trial("piggyback", 3), "scratch 1", "scratch 1, piggyback 2, piggyback 3"),
        (trial("piggyback", 3, alone=True), "scratch 1", "piggyback 3"),
        (trial("resblock", 0), "", ""),
        (trial("resblock", 1), "resblock 0", "resblock 1"),
        (trial("resblock", 3), "resblock 0", "resblock 1, resblock 2, resblock 3"),
        (trial("resblock+piggyback", 4), "resblock 3", "resblock 3, resblock+piggyback 4"),
    ],
    ids=lambda value: name(value) if isinstance(value, TaskTrial) else "",
)
def test_what_a_trial_starts_from_and_what_its_network_has_met(of, starts_from, met):
    assert name(parent(of)) == starts_from
    found = history(of)
    assert ", ".join(map(name, found)) == met
    assert not found or found[-1] == of
    for other in (*found[:-1], parent(of) or of):
        assert (other.stream, other.seed) == (of.stream, of.seed)


@pytest.mark.parametrize("method", STREAMS)
def test_the_base_is_task_1s_network_or_the_auto_encoder(method):
    norms = {"norms": "batch"} if method == "resblock" else {}
    expected = ("resblock", 0) if method == "resblock" else ("scratch", 1)
    found = base(trial(method, 2, run=1, shuffled=True, alone=True, **norms))
    assert (found.method, found.task) == expected
    assert found == TaskTrial(stream=STREAM, method=expected[0], task=expected[1], seed=3, **norms)
    assert base(found) == found


def test_controls_stand_on_plain_trials():
    """A control's ancestors are those of the main table, with the control's norms."""
    fields = {"norms": "affine", "run": 1, "shuffled": True, "scenes": "x", "alone": True}
    control = trial("piggyback", 2, **fields)
    assert in_stream(control, 3) == trial("piggyback", 3, norms="affine")
    assert in_stream(control, 1) == parent(control) == trial("scratch", 1)
    assert in_stream(trial("fine-tune", 5, start=3), 4) == trial("fine-tune", 4)
    blocks = trial("resblock", 2, norms="batch", loss="l1", alone=True)
    assert in_stream(blocks, 1) == trial("resblock", 1, norms="batch")
    both = trial("resblock+piggyback", 4, norms="batch", alone=True)
    assert parent(both) == trial("resblock", 3, norms="batch")
    assert in_stream(both, 4) == trial("resblock+piggyback", 4, norms="batch")


@EACH_PROFILE
def test_every_trial_comes_after_what_it_needs(sizes):
    """Weights from a phase before; what is only scored as well may be in the same one, before."""
    earlier, done = set(), set()
    for phase in phases(sizes).values():
        for each in phase:
            assert parent(each) is None or parent(each) in earlier
            assert set(history(each)) <= done | {each}
            done.add(each)
        earlier = set(done)


@EACH_PROFILE
def test_the_main_table_has_no_gap(sizes):
    """Six methods by five tasks; task 1 of the U-Nets is one network."""
    plan = phases(sizes)
    cells = Counter()
    for phase in list(plan)[:-1]:
        for each in plan[phase]:
            assert not (each.alone or each.run or each.shuffled or each.loss or each.scenes)
            assert each.stream == sizes.stream
            if each.norms != "batch" and each.task and not each.start:
                cells[each.method, each.task, each.seed] += 1
    wanted = {(m, task) for m in STREAMS for task in TASKS[1:]}
    wanted |= {("scratch", 1), ("resblock", 1), ("resblock+piggyback", 4)}
    more = {(m, task) for m in ("scratch", "fine-tune", "piggyback") for task in TASKS[1:]}
    more |= {("scratch", 1)}
    whole, last = sizes.seeds, sizes.seeds + sizes.more
    wanted = {(*cell, seed) for cell in wanted for seed in range(whole)}
    wanted |= {(*cell, seed) for cell in more for seed in range(whole, last)}
    assert cells == Counter(wanted)
    norms = {each.method: each.norms for each in plan["task 4"]}
    assert norms["piggyback"] == "statistics"
    assert norms["resblock"] == norms["resblock+piggyback"] == "instance"
    again = [each for each in plan["task 5"] if each.start]
    assert [(each.start, each.seed) for each in again] == [(3, seed) for seed in range(last)]


@EACH_PROFILE
def test_a_long_run_takes_seed_after_seed(sizes):
    """Each trial after what it is made of; what every seed is compared with comes first."""
    plan = [each for _, each in evidence(sizes)]
    count = sum(isinstance(each, GatysTrial | TrivialTrial) for each in plan)
    assert count == 2 + 5 + bool(sizes.harder)
    later = [each for each in plan if isinstance(each, ClassifierTrial | PruneTrial)]
    assert plan[-len(later) :] == later
    trials, done = plan[count : -len(later)], set()
    seeds = [each.seed for each in trials]
    assert seeds == sorted(seeds) and set(seeds) == set(range(sizes.seeds + sizes.more))
    for each in trials:
        assert {*filter(None, [parent(each)]), *history(each)} <= done | {each}
        done.add(each)
    assert done == {each for phase in phases(sizes).values() for each in phase}


def test_the_harder_task_2_is_a_control_of_four_methods():
    sizes = replace(SIZES, harder="voc2012_groups@medium", seeds=3, controls=2)
    harder = [each for each in phases(sizes)["controls"] if each.scenes]
    methods = ["scratch", "fine-tune", "decoder", "piggyback"]
    assert [(each.seed, each.method) for each in harder] == [
        (s, m) for s in (0, 1) for m in methods
    ]
    for each in harder:
        assert each.task_stream.scenes == ("scenes_a", "voc2012_groups@medium")
        assert each.stream == STREAM and base(each).task_stream == STREAM
        assert name(parent(each)) == ("" if each.method == "scratch" else "scratch 1")
    (answer,) = [
        each for _, each in evidence(sizes)
        if isinstance(each, TrivialTrial) and each.stream != STREAM
    ]  # fmt: skip
    assert (answer.task, answer.stream) == (2, harder[0].task_stream)
