"""Sheets and animations."""
import io
import re

import numpy as np
import pytest
from PIL import Image

from tinyseg import steps
from tinyseg.plots import SLIDE
from tinyseg.steps.frames import EDGE, FILL
from tinyseg.steps.pictures import Book, sheet, write_gif
from tinyseg.steps.terminal import screen


def colours(image):
    return {colour for _, colour in image.convert("RGB").getcolors(image.width * image.height)}


def rgb(name):
    return tuple(int(name[k:k + 2], 16) for k in (1, 3, 5))


def test_a_sheet_shows_all_frames_and_marks_by_colour_and_by_border(tmp_path):
    run = steps.max_pool()
    run.save_png(tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG" and colours(image) >= {rgb(FILL[1]), rgb(FILL[2]), rgb(EDGE[1]), rgb(EDGE[2])}
        width, height = Book(run, 15).size
        assert image.width // width * (image.height // height) >= len(run)


def test_one_frame_is_drawn_large_for_a_slide():
    one, several = sheet(steps.max_pool()[2:3]), Book(steps.max_pool(), 15)
    assert one.width > 1.8 * several.size[0]


def test_pages_of_a_run_have_one_size_and_differ():
    book = Book(steps.conv_transpose()[:6], 12)
    pages = [np.array(book.draw(k)) for k in range(6)]
    assert len({page.shape for page in pages}) == 1
    assert all((a != b).any() for a, b in zip(pages, pages[1:]))


@pytest.mark.parametrize("name", steps.STEPPERS)
def test_nothing_sticks_out_of_the_page(name):
    run = steps.STEPPERS[name]()
    book = Book(run[len(run) // 2:len(run) // 2 + 1], 12)
    page = np.array(book.draw(0).convert("L"))
    assert (page[:, -6:] == 255).all() and (page[-3:] == 255).all() and (page[:, :6] == 255).all()


def test_an_animation_has_every_frame_and_stays_at_the_end(tmp_path):
    run = steps.conv_strided()
    run.save_gif(tmp_path / "steps.gif", seconds=0.5)
    with Image.open(tmp_path / "steps.gif") as image:
        durations = []
        for k in range(image.n_frames):
            image.seek(k)
            durations.append(image.info["duration"])
        assert durations == [500] * 4 + [1500] and image.info["loop"] == 0


def test_too_many_frames_for_a_sheet_and_none_at_all():
    with pytest.raises(ValueError, match="png: 65 frames on one sheet; expected 1 to 64"):
        sheet(steps.bilinear([[0, 1]], size=(5, 13)))
    with pytest.raises(ValueError, match="gif: there are no frames"):
        write_gif(steps.conv()[:0], io.BytesIO(), 1)


def test_plot_draws_a_figure_for_each_frame_as_large_as_its_page(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    run = steps.max_pool().choose([1, 5])
    run.plot()
    numbers = [number for number in plt.get_fignums() if number not in before]
    try:
        pages = [figure.axes[0].images[0].get_array() for figure in map(plt.figure, numbers)]
        assert len(pages) == 2 and all(np.array_equal(page, Book(run, 30).draw(k)) for k, page in enumerate(pages))
        assert [tuple(plt.figure(n).bbox.size) for n in numbers] == [pytest.approx(Book(run, 30).size)] * 2
    finally:
        for number in numbers:
            plt.close(number)
    with pytest.raises(ValueError, match="plot: 33 frames; expected 1 to 20, so choose some of them"):
        steps.conv_transpose()[:33].plot()


def test_a_chosen_frame_keeps_its_number_in_the_run(monkeypatch):
    from PIL import ImageDraw

    written, text = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(ImageDraw.ImageDraw, "text",
                        lambda self, xy, said, *rest, **more: (written.append(said), text(self, xy, said, *rest, **more)))
    run = steps.max_pool()                                                 # of 8 frames
    for chosen, places in (run.choose([5]), ["5 of 8"]), (run[2:7].choose([1, 3]), ["3 of 8", "5 of 8"]):
        written.clear()
        sheet(chosen)
        assert [said for said in written if " of 8" in said] == places
        assert re.findall(r"^(\d of \d): ", chosen.text(), re.M) == places
        assert re.findall(r'"place": "(.*?)"', chosen.html()) == places
        assert screen(chosen, len(places) - 1, 80, 24, False).split("\n")[-1].startswith(places[-1])
    written.clear()
    sheet(steps.Steps("alone", run[:1].frames))
    assert "alone" in written and "1 of 1" not in written


@pytest.mark.filterwarnings("error")
def test_a_plot_can_be_drawn_and_saved_again_under_a_style_with_a_layout(monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    with plt.style.context(SLIDE):
        steps.max_pool().choose([1]).plot()
        figure = plt.gcf()
        try:
            figure.canvas.draw()
            files = [io.BytesIO() for _ in range(2)]
            for file in files:
                figure.savefig(file, dpi="figure", bbox_inches="tight")            # as notebooks do
            figure.canvas.draw()
            pages = [np.array(Image.open(file)) for file in files]
            assert np.array_equal(*pages) and pages[0].std() > 10
        finally:
            plt.close(figure)
