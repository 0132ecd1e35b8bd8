"""Is this mode collapse? Healthy sets raise no alarm, broken ones do, and few samples are said to be few."""

import io
import math
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from ndiv_lib.cli import main
from ndiv_lib.data.digits import load_digits_split
from ndiv_lib.data.one_to_many import OneToMany
from ndiv_lib.diagnosis import checks, diagnose
from ndiv_lib.diagnosis.files import read_samples
from ndiv_lib.diagnosis.inputs import check_samples
from ndiv_lib.diagnosis.page import encode_tiles, to_html
from ndiv_lib.diagnosis.words import WIDTH, words_of
from ndiv_lib.metrics import precision_recall_density_coverage

CORNERS = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]])


def blobs(num_modes, count, seed):
    random = torch.Generator().manual_seed(seed)
    return CORNERS[torch.randint(num_modes, (count,), generator=random)] + torch.randn(
        count, 2, generator=random
    )


def shapes(count, seed):
    return OneToMany().sample(count, generator=torch.Generator().manual_seed(seed))


def a_pool(features, **options):
    return checks.pool_samples(features, {}, num_bins=5, groups=None, seed=0, **options)


# --- The parts --------------------------------------------------------------------------------------------------------


def test_deals_keep_the_truth_first_and_all_counts():
    is_real = torch.arange(30) < 12
    dealt = checks.deal(is_real, None, 50, seed=0)
    assert dealt.shape == (51, 30) and torch.equal(dealt[0], is_real)
    assert (dealt.sum(1) == 12).all() and len(dealt.unique(dim=0)) == 51
    assert 0.25 < dealt[1:].double().mean(0).min() < dealt[1:].double().mean(0).max() < 0.6


def test_deals_keep_the_counts_of_every_condition():
    is_real = torch.arange(30) < 12
    groups = torch.randint(3, (30,), generator=torch.Generator().manual_seed(0))
    dealt = checks.deal(is_real, groups, 50, seed=0)
    for group in range(3):
        assert (dealt[:, groups == group].sum(1) == (is_real & (groups == group)).sum()).all()


@pytest.mark.parametrize("num_real", [20, 33, 50])
def test_neighbors_in_order_give_precision_recall_and_coverage(num_real):
    """Against the library's own, which compares distances."""
    random = torch.Generator().manual_seed(num_real)
    features = torch.randn(70, 3, generator=random)
    for deal in checks.deal(torch.arange(70) < num_real, None, 5, seed=1):
        means = torch.ones((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        found = checks._near(a_pool(features), deal, means, 69)
        expected = precision_recall_density_coverage(real=features[deal], generated=features[~deal])
        assert found[1:].tolist() == pytest.approx([expected.recall, expected.coverage, expected.precision])


def test_mean_distances_pair_by_pair():
    random = torch.Generator().manual_seed(0)
    points = torch.randn(12, 2, generator=random, dtype=torch.float64)
    distances, groups = torch.cdist(points, points), torch.arange(12) % 3
    deals = checks.deal(torch.arange(12) < 5, None, 3, seed=0)
    same = groups[:, None] == groups
    for counted in (None, same):
        masked = distances if counted is None else distances * same
        found = checks.mean_distances(masked, deals, counted)
        for number, deal in enumerate(deals):
            for kind, (first, second) in enumerate([(True, True), (True, False), (False, False)]):
                pairs = [
                    float(distances[i, j])
                    for i in range(12)
                    for j in range(12)
                    if i != j and deal[i] == first and deal[j] == second and (counted is None or same[i, j])
                ]
                expected = sum(pairs) / len(pairs) if pairs else 0.0
                assert float(found[kind][number]) == pytest.approx(expected)


def test_near_duplicates_are_seen_and_contrast_is_not():
    real, generated = blobs(4, 200, 0), blobs(4, 200, 1)
    repeated = torch.cat([generated[:100], generated[:100] + 1e-4])

    def rate(other):
        features = torch.cat([real, other])
        dealt = checks.deal(torch.arange(400) < 200, None, 1, seed=0)
        return float(checks.measure(a_pool(features), dealt)["near-duplicates"][0])

    assert rate(repeated) == 1
    assert rate(generated) < 0.1
    assert rate(0.1 * generated) == pytest.approx(rate(generated))


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (30, 44), (80, 80)])
def test_levels_are_what_each_resolution_adds(size):
    flat = torch.full((2, 3, *size), 0.3)
    levels = checks.image_levels(flat)
    assert next(iter(levels)) == "layout (4 px)" and list(levels)[-1].endswith(f"({min(64, *size)} px)")
    coarse, *fine = levels.values()
    assert torch.allclose(coarse, torch.full_like(coarse, 0.3))
    assert all(level.abs().max() < 1e-6 for level in fine)


def test_levels_tell_layout_from_texture():
    """Smooth images of their own layouts, and images that differ in fine noise alone."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(2, (60, 1, 32, 32), generator=random) * 2.0 - 1
    blocks = F.interpolate(torch.rand(60, 1, 4, 4, generator=random) - 0.5, size=32, mode="bilinear")

    def spread(images):
        levels = checks.image_levels(images)
        return {name.split()[0]: float(level.norm(dim=1).mean()) for name, level in levels.items()}

    assert spread(blocks)["layout"] > 1.5 * spread(blocks)["texture"] > 0
    assert spread(noise)["texture"] > 8 * spread(noise)["layout"]


def test_exactly_the_share_is_dropped():
    probability = np.array([0.1, 0.2, 0.3, 0.4])
    for seed in range(10):
        kept = checks._drop(probability, 0.25, np.random.default_rng(seed)) * 0.75
        lost = probability - kept
        assert lost.sum() == pytest.approx(0.25) and (lost > -1e-12).all()
        assert ((lost > 1e-12) & (kept > 1e-12)).sum() <= 1  # at most one in part


def test_many_samples_show_more():
    limits = {"bins": 0.02, "emptiest bin": 3.5}
    power = checks.simulate_loss(torch.full((20,), 0.05, dtype=torch.float64), 1000, 1000, limits, seed=0)
    assert power.rates[0.3] == 1 and power.needed is None and power.visible_share <= 0.2
    few = checks.simulate_loss(
        torch.full((5,), 0.2, dtype=torch.float64), 50, 50, {"bins": 0.09, "emptiest bin": 3.7}, seed=0
    )
    assert few.rates[0.3] < 0.8 and few.needed > 50
    assert few.smallest_mode == pytest.approx(3.7**2 / 50)


# --- The answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [40, 100])
def test_real_against_real_raises_no_alarm(count):
    found = [
        diagnose(real=blobs(4, count, 2 * seed), generated=blobs(4, count, 2 * seed + 1))
        for seed in range(20)
    ]
    assert sum(bool(one.alarms) for one in found) <= 1


def test_lost_modes_raise_an_alarm_and_are_named():
    found = diagnose(real=blobs(4, 300, 0), generated=blobs(3, 300, 1))
    assert found.verdict == "collapse"
    assert found["coverage"].alarm and found["bins"].alarm and not found["precision"].alarm
    assert found.bins and all(one.num_generated < one.expected for one in found.bins)
    assert sum(one.num_real for one in found.bins) > 40  # most of the lost quarter
    assert all((one.value > one.limit) == (one.worse == "high") for one in found.alarms)


def test_repetition_is_collapse():
    real, few = blobs(4, 200, 0), blobs(4, 20, 1)
    found = diagnose(real=real, generated=few.repeat(10, 1) + 1e-3 * blobs(1, 200, 2))
    assert found.verdict == "collapse" and found["near-duplicates"].value == 1


def test_a_single_point_is_collapse():
    found = diagnose(real=blobs(4, 100, 0), generated=CORNERS[:1].repeat(100, 1))
    assert found.verdict == "collapse" and found["diversity"].value == 0
    assert all(math.isfinite(one.value) and math.isfinite(one.limit) for one in found.findings)


def test_blur_is_not_collapse():
    digits = load_digits_split(seed=0)
    blurred = F.avg_pool2d(F.pad(digits.train_images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    found = diagnose(real=digits.held_out_images, generated=blurred)
    assert found.verdict == "different" and found["sharpness"].alarm


def test_samples_beside_the_real_ones_are_not_collapse():
    found = diagnose(real=blobs(4, 200, 0), generated=blobs(4, 200, 1) + 4)
    assert found.verdict == "different" and found["precision"].alarm


def test_few_samples_are_too_few_to_know():
    found = diagnose(real=shapes(50, 0).images, generated=shapes(50, 1).images)
    assert found.verdict == "cannot be known" and found.power.rates[0.3] < 0.8
    assert "too few" in found.to_text() and str(found.power.needed) in found.to_text()


def test_an_ignored_latent_is_seen_only_with_conditions():
    drawn, asked = shapes(400, 0), shapes(400, 1).conditions
    templates = OneToMany().templates()
    generated = templates[asked, 3]
    found = diagnose(
        real=drawn.images, generated=generated, conditions_real=drawn.conditions, conditions_generated=asked
    )
    assert found.verdict == "collapse" and all(one.identical for one in found.conditions)
    assert found["diversity within a condition"].value == 0 and "identical" in found.to_text()
    healthy = shapes(400, 2)
    found = diagnose(
        real=drawn.images,
        generated=healthy.images,
        conditions_real=drawn.conditions,
        conditions_generated=healthy.conditions,
    )
    assert found.verdict == "no sign of collapse"
    assert all(0.9 < one.ratio < 1.1 and not one.identical for one in found.conditions)


def test_another_mix_of_conditions_is_no_collapse():
    real, generated = shapes(400, 0), shapes(1200, 1)
    often = (generated.conditions < 2).nonzero()[:, 0][:340]
    seldom = (generated.conditions >= 2).nonzero()[:, 0][:60]
    chosen = torch.cat([often, seldom])
    sides = {"real": real.images, "generated": generated.images[chosen]}
    assert diagnose(**sides).verdict == "collapse"
    given_conditions = diagnose(
        **sides, conditions_real=real.conditions, conditions_generated=generated.conditions[chosen]
    )
    assert not given_conditions.alarms


def test_one_real_sample_for_each_condition_has_no_ratio():
    names = [f"photo {number}" for number in range(30)]
    real = shapes(30, 0).images
    generated = shapes(90, 1).images
    found = diagnose(
        real=real,
        generated=generated,
        conditions_real=names,
        conditions_generated=names * 3,
    )
    assert all(math.isnan(one.ratio) and not one.identical for one in found.conditions)
    assert "no two real samples" in found.to_text()
    same = real.repeat(3, 1, 1, 1)
    found = diagnose(real=real, generated=same, conditions_real=names, conditions_generated=names * 3)
    assert found.verdict == "collapse" and all(one.identical for one in found.conditions)


def test_the_same_seed_gives_the_same_answer_and_inputs_stay():
    real, generated = blobs(4, 60, 0), blobs(4, 60, 1)
    before = real.clone(), generated.clone()
    assert diagnose(real=real, generated=generated, seed=3) == diagnose(
        real=real, generated=generated, seed=3
    )
    assert torch.equal(real, before[0]) and torch.equal(generated, before[1])


def test_features_are_taken_and_named():
    def mean_color(images):
        return images.mean((2, 3))

    found = diagnose(real=shapes(60, 0).images, generated=shapes(60, 1).images, features=mean_color)
    assert "mean_color (3 numbers)" in found.compared


@settings(max_examples=15, deadline=None)
@given(st.integers(20, 30), st.integers(20, 45), st.integers(1, 3), st.integers(1, 30), st.integers(0, 100))
def test_any_finite_samples_get_an_answer(num_real, num_generated, dims, distinct, seed):
    """Also with many coinciding samples."""
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(distinct + 1, dims, generator=random)
    values[-1] += 1  # at least two that differ
    real = values[torch.randint(distinct + 1, (num_real,), generator=random)]
    real[0], real[1] = values[0], values[-1]
    generated = values[torch.randint(distinct, (num_generated,), generator=random)]
    found = diagnose(real=real, generated=generated)
    numbers = [number for one in found.findings for number in (one.value, one.limit, one.floor, one.p_value)]
    assert np.isfinite(numbers).all() and found.to_text()
    assert all(0 < one.p_value <= 1 for one in found.findings)


# --- Bad input --------------------------------------------------------------------------------------------------------

IMAGES = torch.zeros(20, 3, 8, 8)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (IMAGES[:19], IMAGES, "at least 20 real samples, got 19"),
        (IMAGES, IMAGES[..., :7], r"one shape, got \(3, 8, 8\) and \(3, 8, 7\)"),
        (IMAGES[:, :2], IMAGES[:, :2], "images .n, 1 or 3, H, W. or vectors"),
        (IMAGES[..., :3, :3], IMAGES[..., :3, :3], "at least 4 px"),
        (IMAGES, IMAGES + 127, r"in \[-1, 1\], got values from 127 to 127; bytes become floats"),
        (IMAGES * float("nan"), IMAGES, "finite real samples"),
        (torch.zeros(6000, 2), torch.zeros(6000, 2), "at most 10,000 samples .* random part"),
    ],
)
def test_bad_samples_are_refused(real, generated, message):
    with pytest.raises(ValueError, match=message):
        check_samples(real, generated)


def test_bytes_are_refused():
    with pytest.raises(TypeError, match=r"floating point, got torch.uint8"):
        diagnose(real=IMAGES.byte(), generated=IMAGES)


def test_identical_samples_everywhere_are_refused():
    with pytest.raises(ValueError, match="expected samples that differ"):
        diagnose(real=IMAGES, generated=IMAGES)


@pytest.mark.parametrize(
    ("of_real", "of_generated", "message"),
    [
        ([0] * 40, None, "for both sets or for neither"),
        ([0] * 39, [0] * 40, "one condition for each of 40 real samples, got 39"),
        ([0, 1] * 20, [0] * 40, "no generated samples for 1; leave these out"),
    ],
)
def test_bad_conditions_are_refused(of_real, of_generated, message):
    with pytest.raises(ValueError, match=message):
        diagnose(
            real=blobs(4, 40, 0),
            generated=blobs(4, 40, 1),
            conditions_real=of_real,
            conditions_generated=of_generated,
        )


# --- The page and the text --------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags, attributes, and whether every tag that is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.addresses, self.alts = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        self.addresses += [values[key] for key in ("src", "href", "action", "srcset") if key in values]
        if tag == "img":
            self.alts.append(values["alt"])
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def lost():
    """Half of the modes are lost; a condition has a name that must not become markup."""
    real, drawn = shapes(300, 0), shapes(900, 1)
    left = (drawn.modes < 8).nonzero()[:300, 0]
    names = ["<b>&", "disc", "cross", "triangle"]
    return diagnose(
        real=real.images,
        generated=drawn.images[left],
        conditions_real=[names[one] for one in real.conditions],
        conditions_generated=[names[one] for one in drawn.conditions[left]],
    )


def test_the_page_is_whole_and_asks_for_nothing(lost, tmp_path):
    path = lost.to_html(tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.alts and all(page.alts)
    assert all(address.startswith("data:image/webp;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe"} & set(page.tags) and "http" not in text and "url(" not in text
    assert text.startswith('<!doctype html>\n<html lang="en">') and page.tags.count("h1") == 1
    assert "prefers-color-scheme: dark" in text and "viewport" in text
    assert "<b>&" not in text and "&lt;b&gt;&amp;" in text
    assert len(text) < 1_000_000


def test_the_page_shows_what_is_avoided(lost):
    assert lost.verdict == "collapse" and lost.bins
    text = to_html(lost)
    assert text.count("are due") == min(8, len(lost.bins))
    for one in lost.bins:
        assert one.real_images.shape[1:] == (3, 16, 16) and len(one.generated_images) <= one.num_generated
    for finding in lost.findings:
        assert words_of(finding).title in text and words_of(finding).title in lost.to_text()


def test_the_text_marks_alarms_and_fits_a_terminal(lost):
    lines = lost.to_text().splitlines()
    assert sum(line.endswith("ALARM") for line in lines) == len(lost.alarms)
    assert max(map(len, lines)) <= WIDTH


def test_vectors_have_a_page_too(tmp_path):
    found = diagnose(real=blobs(4, 200, 0), generated=blobs(3, 200, 1))
    page = Page(found.to_html(tmp_path / "page.html").read_text())
    assert not page.alts and found.pictures is None


def test_tiles_keep_square_pixels_and_the_order():
    images = torch.stack([torch.full((1, 8, 8), value) for value in (-1.0, 0.0, 1.0)])
    data, width, height = encode_tiles(images)
    picture = np.asarray(Image.open(io.BytesIO(data)))
    assert picture.shape == (height, width, 4) == (48, 3 * 48 + 6, 4)
    assert picture[20, [20, 71, 122], 0].tolist() == [0, 128, 255]
    assert picture[20, 49, 3] == 0  # the gap shows the page


# --- Files and the command --------------------------------------------------------------------------------------------


def write_images(folder, images, labels=None):
    for number, image in enumerate(images):
        place = folder / (f"class {int(labels[number])}" if labels is not None else "")
        place.mkdir(parents=True, exist_ok=True)
        pixels = ((image.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
            place / f"{number:04}.png"
        )
    return folder


def test_a_folder_is_read_with_its_subfolders(tmp_path):
    drawn = shapes(12, 0)
    folder = write_images(tmp_path / "set", drawn.images, drawn.conditions)
    (folder / ".hidden").write_text("not an image")
    samples, conditions = read_samples(folder, conditions=True)
    order = drawn.conditions.argsort(stable=True)
    assert (samples - drawn.images[order]).abs().max() < 1 / 127.5
    assert conditions == [f"class {int(label)}" for label in drawn.conditions[order]]
    assert read_samples(folder).conditions is None


def test_gray_and_palette_images_are_read(tmp_path):
    gray = write_images(tmp_path / "gray", torch.zeros(2, 1, 8, 8))
    assert read_samples(gray).samples.shape == (2, 1, 8, 8)
    (tmp_path / "palette").mkdir()
    Image.new("RGB", (8, 8), (255, 0, 0)).convert("P").save(tmp_path / "palette" / "a.png")
    assert read_samples(tmp_path / "palette").samples[0, :, 0, 0].tolist() == [1, -1, -1]


def test_what_cannot_be_read_is_named(tmp_path):
    folder = write_images(tmp_path / "set", torch.zeros(3, 3, 8, 8))
    (folder / "notes.txt").write_text("hello")
    broken = folder / "broken.png"
    broken.write_bytes((folder / "0000.png").read_bytes()[:40])
    Image.new("RGBA", (8, 8)).save(folder / "clear.png")
    with pytest.raises(ValueError, match="3 of 6 files") as error:
        read_samples(folder)
    assert all(name in str(error.value) for name in ("notes.txt", "broken.png", "clear.png"))


def test_mixed_sizes_are_named(tmp_path):
    folder = write_images(tmp_path / "set", torch.zeros(3, 3, 8, 8))
    Image.new("RGB", (9, 8)).save(folder / "wide.png")
    Image.new("L", (8, 8)).save(folder / "gray.png")
    with pytest.raises(
        ValueError, match=r"3 of 8×8 color \(0000.png, .*\); 1 of 8×8 gray .*; 1 of 9×8 color \(wide.png\)"
    ):
        read_samples(folder)


def test_empty_and_missing_folders(tmp_path):
    with pytest.raises(ValueError, match="got an empty folder"):
        read_samples(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere, which is neither"):
        read_samples(tmp_path / "nowhere")


def test_images_outside_a_condition_are_named(tmp_path):
    folder = write_images(tmp_path / "set", torch.zeros(2, 3, 8, 8))
    with pytest.raises(ValueError, match=r"2 outside: 0000.png, 0001.png"):
        read_samples(folder, conditions=True)


@pytest.mark.parametrize(
    ("arrays", "shape"),
    [
        ({"images": np.zeros((5, 8, 8), np.uint8)}, (5, 1, 8, 8)),
        ({"images": np.zeros((5, 8, 6, 3), np.uint8)}, (5, 3, 8, 6)),
        ({"images": np.zeros((5, 3, 8, 6), np.float32)}, (5, 3, 8, 6)),
        ({"anything": np.zeros((5, 7))}, (5, 7)),
    ],
)
def test_arrays_are_read(arrays, shape, tmp_path):
    np.savez(tmp_path / "set.npz", labels=np.arange(5), **arrays)
    samples, conditions = read_samples(tmp_path / "set.npz", conditions=True)
    assert samples.shape == shape and conditions == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((5, 8), np.int64)}, r"got int64 \(5, 8\)"),
        (
            {"first": np.zeros((5, 8)), "second": np.zeros((5, 8))},
            "array named images, or a single array, got first, second",
        ),
        ({"images": np.zeros((5, 8))}, "array named labels"),
    ],
)
def test_other_arrays_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_samples(tmp_path / "set.npz", conditions=True)


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"set.npz: cannot be read"):
        read_samples(tmp_path / "set.npz")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root, data = tmp_path_factory.mktemp("folders"), OneToMany()
    real, healthy = shapes(300, 0), shapes(300, 1)
    write_images(root / "real", real.images, real.conditions)
    write_images(root / "healthy", healthy.images, healthy.conditions)
    write_images(root / "same", data.templates()[healthy.conditions, 0], healthy.conditions)
    write_images(root / "few", healthy.images[:30], healthy.conditions)
    return root


@pytest.mark.parametrize(("name", "status"), [("healthy", 0), ("same", 1), ("few", 3), ("nowhere", 2)])
def test_the_command(name, status, folders, tmp_path, capsys):
    page = tmp_path / "report.html"
    arguments = ["diagnose", "--real", str(folders / "real"), "--generated", str(folders / name)]
    assert main([*arguments, "--conditions", "--out", str(page)]) == status
    out, err = capsys.readouterr()
    assert page.exists() == (status != 2)
    assert ("Is this mode collapse?" in out) == (status != 2) and ("nowhere" in err) == (status == 2)
    assert ("all identical" in out) == (name == "same")


def test_the_command_draws_fewer_and_says_so(folders, capsys):
    real, generated = str(folders / "real"), str(folders / "healthy")
    assert main(["diagnose", "--real", real, "--generated", generated, "--max-samples", "60"]) == 3
    assert "real: 60 of 300 samples, at random" in capsys.readouterr().out


def test_different_sizes_are_an_error_of_use(folders, tmp_path, capsys):
    other = write_images(tmp_path / "other", torch.zeros(20, 3, 8, 8))
    assert main(["diagnose", "--real", str(folders / "real"), "--generated", str(other)]) == 2
    assert "one shape, got (3, 16, 16) and (3, 8, 8)" in capsys.readouterr().err
