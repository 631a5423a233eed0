import time

import numpy as np
import pytest
from tensorboardX.event_file_writer import EventsWriter

from pfgm_jax import pictures
from pfgm_jax.training import writers


def test_grid_places_enlarged_images_row_by_row():
    images = np.arange(5 * 2 * 3 * 1, dtype=np.uint8).reshape(5, 2, 3, 1)
    grid = pictures.image_grid(images, shortest=4, gap=1)
    assert grid.shape == (2 * 5 + 1, 3 * 7 + 1, 1)
    for i in range(5):
        row, column = divmod(i, 3)
        cell = grid[5 * row + 1 : 5 * row + 5, 7 * column + 1 : 7 * column + 7]
        np.testing.assert_array_equal(cell[::2, ::2], images[i])
        np.testing.assert_array_equal(cell[1::2, 1::2], images[i])
    assert (grid[:, ::7] == 128).all() and (grid[::5] == 128).all() and (grid[5:, 14:] == 128).all()


def test_grey_levels_span_all_of_a_byte():
    levels = np.arange(17, dtype=np.uint8).reshape(1, 17, 1, 1)
    np.testing.assert_array_equal(pictures.to_pixels(levels, (0, 16)).ravel(), np.round(np.linspace(0, 255, 17)))
    every = np.arange(256, dtype=np.uint8).reshape(1, 256, 1, 1)
    np.testing.assert_array_equal(pictures.to_pixels(every, (0, 255)), every)


def test_pictures_have_the_mode_of_their_channels():
    for channels, mode in ((1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA")):
        pixels = np.random.default_rng(0).integers(0, 256, (4, 5, channels), dtype=np.uint8)
        picture = pictures.to_picture(pixels)
        assert picture.mode == mode
        np.testing.assert_array_equal(np.asarray(picture).reshape(pixels.shape), pixels)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_events_that_cannot_be_written_are_an_error_and_no_endless_wait(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with writers.MetricWriter(tmp_path, 0) as writer:
        monkeypatch.setattr(EventsWriter, "write_event", full)
        with pytest.raises(OSError, match="TensorBoard's events cannot be written to"):
            for step in range(100):
                writer.scalars(step, {"loss": 1.0})
                time.sleep(0.05)
    assert step < 50
