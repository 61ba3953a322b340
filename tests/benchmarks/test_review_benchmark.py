"""The benchmark of reviews: what it pairs, and what it counts."""

from benchmarks.few_labels.review import OF_A_CLASS, some_of, summaries


def test_a_method_is_held_against_random_annotations_of_its_own_seeds():
    random, method = [0.5, 0.6, 0.9], [0.6, 0.8]
    rows = [
        {"setting": "s", "seed": seed, "asked": asked, "held": value, "test": value}
        for asked, values in (("random", random), ("clusters", method))
        for seed, value in enumerate(values)
    ]
    lines = {line["asked"]: line for line in summaries(rows)}
    assert lines["random"]["seeds"] == 3
    assert lines["clusters"]["seeds"] == 2
    assert lines["clusters"]["test − random"].startswith("+15.00 (")  # the mean of 10 and 20 points
    assert "test − random" not in lines["random"]


def test_the_subset_of_a_folder_holds_as_many_of_every_class_in_their_roles(tmp_path):
    for role in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / role / name).mkdir(parents=True)
            for number in range(OF_A_CLASS["test"] + 1):
                (tmp_path / role / name / f"{number:04d}.png").touch()
    counts = some_of(tmp_path).groupby(["role", "label"]).size().to_dict()
    several = OF_A_CLASS["test"]
    assert counts == {
        (role, name): count for role, count in (("test", several), ("train", several + 1)) for name in ("cat", "dog")
    }
