"""The two silent faults of W&B's notebook that docs/from-the-notebook.md shows."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))

import notebook_faults as notebook

pytestmark = pytest.mark.slow


def test_the_file_that_the_notebook_uploads_has_no_weights_and_takes_one_number_of_images(tmp_path):
    found = notebook.as_the_notebook_does(tmp_path)

    assert set(found.sizes) == {"model.onnx", "model.onnx.data"}
    assert found.sizes["model.onnx"] < 28_938 * 4 / 2 < found.sizes["model.onnx.data"]
    assert "does not exist" in (found.alone or "")
    assert found.n_images == notebook.LAST_BATCH


def test_what_an_export_writes_is_one_file_that_runs_alone_on_any_number_of_images(tmp_path):
    found = notebook.as_an_export_does(tmp_path)

    assert set(found.sizes) == {"model.onnx"}
    assert found.sizes["model.onnx"] > 28_938 * 4
    assert (found.alone, found.n_images) == (None, None)


def test_a_sweep_that_chooses_by_test_images_reports_what_new_images_do_not_confirm():
    by_test, by_validation = notebook.choose(20)

    too_much = (by_test.said - by_test.true).mean()
    assert too_much > 0.01
    assert abs((by_validation.said - by_validation.true).mean()) < too_much / 2
    assert abs((by_test.true - by_validation.true).mean()) < 0.01
