"""Images moved, mirrored and cut on the device."""

import torch

from sweepd_trainer.augment import Augment


def numbered(count: int, side: int) -> torch.Tensor:
    return torch.arange(count * side * side, dtype=torch.uint8).reshape(count, 1, side, side) + 1


def test_nothing_is_drawn_for_nothing():
    assert Augment().draw(numbered(2, 3), torch.Generator()) is None


def test_images_move_by_their_own_offset():
    images = numbered(2, 3)

    moved = Augment(shift=1)(images, torch.tensor([[1, 1, 0, 0, 0], [0, 2, 0, 0, 0]]))

    assert torch.equal(moved[0], images[0])  # offset 1 of 0…2 is the middle: no move
    assert moved[1, 0].tolist() == [[0, 0, 0], [11, 12, 0], [14, 15, 0]]


def test_images_are_mirrored_as_drawn():
    images = numbered(2, 3)

    mirrored = Augment(flip=True)(images, torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 0, 0]]))

    assert torch.equal(mirrored[0], images[0])
    assert torch.equal(mirrored[1], images[1].flip(-1))


def test_a_square_is_cut_out_and_its_part_outside_is_lost():
    images = numbered(2, 4)

    cut = Augment(cutout=2)(images, torch.tensor([[0, 0, 0, 1, 2], [0, 0, 0, 0, 3]]))

    assert (cut[0, 0] == 0).nonzero().tolist() == [[0, 1], [0, 2], [1, 1], [1, 2]]
    assert (cut[1, 0] == 0).nonzero().tolist() == [[0, 2], [0, 3]]


def test_draws_follow_the_generator_and_stay_in_range():
    augment = Augment(shift=2, flip=True, cutout=3)
    images = numbered(500, 5)

    first, same = (augment.draw(images, torch.Generator().manual_seed(7)) for _ in range(2))

    assert torch.equal(first, same)
    assert first.amin(0).tolist() == [0, 0, 0, 0, 0]
    assert first.amax(0).tolist() == [4, 4, 1, 4, 4]
