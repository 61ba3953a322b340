"""Annotations that a person hands in: every row is right, or one line says which is not."""

import json
import xml.etree.ElementTree

import numpy as np
import pytest

from semisup.data.roles.annotations import Annotation
from semisup.data.roles.split import Split
from semisup.delivery.export import labeling_interface
from semisup.delivery.labels_file import Known, check_rows, merged, read_labels, without_new
from semisup.errors import UserError
from tests.mistakes import user_mistake

NAMES = ("cat", "dog")
IDS = ("a.png@1a", "b.png@2b", "c.png@3c", "d.png@4d")
SPLIT = Split.build(
    IDS, np.array([0, 1, 0, 1]), np.array(["labeled", "validation", "unlabeled", "unlabeled"], object), ["t.png@5e"]
)
KNOWN = Known.of(IDS, ["t.png@5e"], SPLIT, own=True)


def annotations_in(tmp_path, text, name="labels.csv"):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return check_rows(read_labels(file), KNOWN, NAMES)


def test_annotations_are_found_by_id_by_content_and_by_path(tmp_path):
    expected = {"3c": Annotation("3c", "c.png", "label", "dog", "unlabeled")}
    assert annotations_in(tmp_path, "id,label\nc.png@3c,dog\n") == expected
    assert annotations_in(tmp_path, "id,label\nother name.png@3c,dog\n") == expected
    assert annotations_in(tmp_path, "path,label\nc.png,dog\n") == expected


def test_the_role_without_annotations_and_what_is_discarded_are_kept(tmp_path):
    found = annotations_in(tmp_path, "\ufeffid,path,annotation,label,given\r\na.png@1a,a.png,discard,,cat\r\n")
    assert found == {"1a": Annotation("1a", "a.png", "discard", "", "labeled")}
    assert annotations_in(tmp_path, "id,answer,label\na.png@1a,discard,\n") == found  # of a page of before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("id,label\nx.png@99,dog", "row 1: image 'x.png@99' is not in the data set"),
        ("id,label\nc.png@3c,dgo", "row 1: label 'dgo' is no class of the data set; did you mean 'dog'"),
        ("id,label\nc.png@3c,zebra", "there are cat, dog"),
        ("id,label\nc.png@3c,", "row 1: image 'c.png@3c' has no label"),
        ("id,label\nb.png@2b,dog", "is a validation image"),
        ("id,label\nt.png@5e,dog", "is a test image"),
        ("id,label\nc.png@3c,dog\nc.png@3c,cat", "row 2: image 'c.png@3c' is annotated twice, 'dog' and 'cat'"),
        ("id,annotation,label\nc.png@3c,perhaps,dog", "annotation 'perhaps'"),
        ("id,other\nc.png@3c,dog", "no column 'label'"),
        ("label\ndog", "no column 'id' or 'path'"),
        ("id,label\n", "holds no annotations"),
        ("", "is empty"),
        ("id;label\nc.png@3c;dog", "save it with commas"),
        ("id,label\nc.png@3c,dog,", "line 2 has 3 fields, but the header 2"),
        ("id,id,label\na,c.png@3c,dog", "two columns 'id'"),
    ],
)
def test_a_wrong_row_is_named_in_one_line(tmp_path, text, why):
    with user_mistake(match=why):
        annotations_in(tmp_path, text)


def new_in(tmp_path, text):
    file = tmp_path / "labels.csv"
    file.write_text("id,annotation,label\n" + text, encoding="utf-8")
    return without_new(read_labels(file), KNOWN, NAMES, {"1a": "cat", "2b": "dog"})


def test_rows_of_new_classes_are_apart_and_one_that_there_is_by_now_is_a_label(tmp_path):
    ordinary, new, settled = new_in(tmp_path, "c.png@3c,new, red  newt\nd.png@4d,new,dog\na.png@1a,label,cat\n")
    assert new == {"red newt": ["c.png"]}
    assert settled == 0
    assert [(row.key, row.kind, row.label) for row in ordinary] == [
        ("d.png@4d", "label", "dog"),
        ("a.png@1a", "label", "cat"),
    ]
    assert new_in(tmp_path, "c.png@3c,new,newt\nc.png@3c,new,newt\n").paths == {"newt": ["c.png"]}


def test_an_image_that_lies_in_the_folder_of_its_class_by_now_is_settled_whatever_its_role(tmp_path):
    """`b.png` validates; as an annotation, that would be refused."""
    assert new_in(tmp_path, "a.png@1a,new,cat\nb.png@2b,new,dog\n") == ([], {}, 2)
    with user_mistake(match="is a validation image"):
        new_in(tmp_path, "b.png@2b,new,newt\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("c.png@3c,new,newt\nc.png@3c,new,eft", "row 2: image 'c.png@3c' is annotated twice, 'newt' and 'eft'"),
        ("c.png@3c,label,dog\nc.png@3c,new,newt", "row 1: image 'c.png@3c' is annotated twice, 'newt' and 'dog'"),
        ("c.png@3c,new,", "row 1: image 'c.png@3c' has no label"),
        ("b.png@2b,new,newt", "is a validation image"),
        ("x.png@99,new,newt", "is not in the data set"),
    ],
)
def test_a_wrong_row_of_a_new_class_is_named_in_one_line(tmp_path, text, why):
    with user_mistake(match=why):
        new_in(tmp_path, text)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_labels(tmp_path / "labels.csv")


def task(name, *choices, **more):
    result = [{"type": "choices", "value": {"choices": list(choices)}}] if choices else []
    return {"data": {"id": name}, "annotations": [{"result": result, **more}]}


def test_open_skipped_and_empty_tasks_are_passed_over(tmp_path):
    annotated = task("c.png@3c", "dog")
    annotated["annotations"] += task("", "cat", was_cancelled=True)["annotations"] + task("")["annotations"]
    tasks = [annotated, {"data": {"id": "d.png@4d"}, "annotations": []}, task("a.png@1a")]
    found = annotations_in(tmp_path, json.dumps(tasks), "export.json")
    assert {content: annotation.label for content, annotation in found.items()} == {"3c": "dog"}


def as_json(*said):
    """(image, class, annotator) …, as Label Studio's JSON export."""
    tasks = {}
    for name, label, who in said:
        done = task(name, *([label] if label else []), completed_by=who)["annotations"]
        tasks.setdefault(name, {"data": {"id": name}, "annotations": []})["annotations"] += done
    return json.dumps([*tasks.values()]), "export.json"


def as_csv(*said):
    """The same as its CSV export."""
    lines = [f'{row},"{who}","{name}","{label}",1' for row, (name, label, who) in enumerate(said)]
    return "\n".join(['"annotation_id","annotator","id","label","lead_time"', *lines]), "export.csv"


@pytest.mark.parametrize("export", [as_json, as_csv])
def test_annotators_who_agree_count_once_and_those_who_disagree_are_refused_with_the_image(tmp_path, export):
    agreed = [("c.png@3c", "dog", 1), ("c.png@3c", "dog", 2), ("d.png@4d", "", 1), ("d.png@4d", "cat", 2)]
    text, name = export(*agreed)
    found = annotations_in(tmp_path, text, name)
    assert {content: annotation.label for content, annotation in found.items()} == {"3c": "dog", "4d": "cat"}
    text, name = export(*agreed, ("c.png@3c", "cat", 3))
    with user_mistake(match=r"'c\.png@3c' is annotated twice, 'dog' and 'cat'"):
        annotations_in(tmp_path, text, name)


def control(kind, name, **value):
    return {"type": kind, "from_name": name, "to_name": "image", "value": value}


NOTES = [control("textarea", "note", text=["blurred"]), control("rating", "quality", rating=4)]
NOTES += [control("choices", "light", choices=["dark", "grainy"]), {"type": "relation", "from_id": "a", "to_id": "b"}]


@pytest.mark.parametrize("place", range(len(NOTES) + 1))
def test_other_controls_of_a_project_do_not_matter(tmp_path, place):
    ours = control("choices", "label", choices=["dog"])
    results = [*NOTES[:place], ours, *NOTES[place:]]
    tasks = [{"data": {"id": "c.png@3c"}, "annotations": [{"result": results}]}]
    tasks += [{"data": {"id": "d.png@4d"}, "annotations": [{"result": NOTES}]}]  # nothing said of the class
    found = annotations_in(tmp_path, json.dumps(tasks), "export.json")
    assert {content: annotation.label for content, annotation in found.items()} == {"3c": "dog"}


def test_other_columns_of_label_studios_csv_do_not_matter(tmp_path):
    text = 'annotation_id,annotation,id,label,note\n1,perhaps,c.png@3c,dog,"a, b"\n2,,d.png@4d,,\n'
    found = annotations_in(tmp_path, text)
    assert {content: annotation.label for content, annotation in found.items()} == {"3c": "dog"}


def test_the_only_choice_is_the_class_whatever_it_is_called_and_of_several_the_one_called_label(tmp_path):
    def tasks(*names):
        results = [control("choices", name, choices=["dog"]) for name in names]
        return json.dumps([{"data": {"id": "c.png@3c"}, "annotations": [{"result": results}]}])

    assert annotations_in(tmp_path, tasks("species"), "export.json")["3c"].label == "dog"
    with pytest.raises(UserError, match="'light', 'species', none of them 'label'"):
        annotations_in(tmp_path, tasks("species", "light"), "export.json")


def test_nobody_can_submit_a_task_of_ours_without_a_class():
    choices = xml.etree.ElementTree.fromstring(labeling_interface(NAMES)).find("Choices")
    assert choices.get("required") == "true"
    assert choices.get("choice") == "single"


def test_blanks_around_a_label_mean_nothing(tmp_path):
    assert annotations_in(tmp_path, "id,annotation,label\nc.png@3c, label, dog \n")["3c"].label == "dog"
    with pytest.raises(UserError, match="has no label"):
        annotations_in(tmp_path, "id,label\nc.png@3c,  \n")


LABELSTUDIO_CSV = """"annotation_id","annotator","created_at","id","image","label","lead_time","updated_at"
215,"1","2026-11-21T21:49:00Z","c.png@3c","/data/local-files/?d=photos/c.png","dog","","2026-11-21T21:49:00Z"
213,"1","2026-11-21T21:47:19Z","d.png@4d","/data/local-files/?d=photos/d.png","cat",11.42,"2026-11-21T21:47:19Z"
"""
"""As Label Studio 1.23.2 exports a project with our interface."""


def test_label_studios_csv_export_is_taken_as_well(tmp_path):
    found = annotations_in(tmp_path, LABELSTUDIO_CSV)
    assert {content: annotation.label for content, annotation in found.items()} == {"3c": "dog", "4d": "cat"}
    choices = xml.etree.ElementTree.fromstring(labeling_interface(NAMES)).find("Choices")
    assert f'"{choices.get("name")}"' in LABELSTUDIO_CSV.splitlines()[0]  # which names the column by it


def test_a_cell_of_label_studios_csv_with_several_choices_is_not_a_class_of_that_name(tmp_path):
    cell = json.dumps({"choices": ["cat", "dog"]}).replace('"', '""')
    text = f'annotation_id,id,label\n1,d.png@4d,cat\n2,c.png@3c,"{cell}"\n'
    with user_mistake(match=r"row 2: image 'c\.png@3c' has 2 classes, 'cat', 'dog'; choose one"):
        annotations_in(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (json.dumps([task("c.png@3c", "cat", "dog")]), "task 1: image 'c.png@3c' has 2 classes"),
        (json.dumps([task("c.png@3c")]), "holds no annotations"),
        (json.dumps([{"image": "x"}]), "task 1: it is no task of ours"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_wrong_task_is_named(tmp_path, text, why):
    with pytest.raises(UserError, match=why):
        annotations_in(tmp_path, text, "export.json")


def test_annotations_add_up_and_the_newer_of_two_stands():
    def said(content, label):
        return {content: Annotation(content, content, "label", label, "unlabeled")}

    old, new = (
        said("1", "cat") | said("2", "cat") | said("3", "cat"),
        said("2", "dog") | said("3", "cat") | said("4", "dog"),
    )
    both, counts = merged(old, new)
    assert {content: annotation.label for content, annotation in both.items()} == {
        "1": "cat",
        "2": "dog",
        "3": "cat",
        "4": "dog",
    }
    assert counts == {"new": 1, "changed": 1, "same": 1}
