"""The figures: what is drawn is what was filled, files are reproducible, nothing is left open."""

import os
import subprocess
import sys
import warnings

import hist
import matplotlib.pyplot
import numpy as np
import pypdf
import pytest
import uproot

from nanolake import plotting

PDF_AND_PNG = ("plot.pdf", "plot.png")
BACKGROUNDS = ("QCD", "TT", "W", "ZLL", "ZTT")


@pytest.fixture(autouse=True)
def warnings_are_errors_and_nothing_stays_open():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert matplotlib.pyplot.get_fignums() == []


def make(values, variances=None, low=20.0, high=140.0):
    histogram = hist.Hist(hist.axis.Regular(len(values), low, high), storage=hist.storage.Weight())
    histogram.view().value = values
    histogram.view().variance = values if variances is None else variances
    return histogram


def make_spectrum(events, seed=1):
    histogram = hist.Hist(
        hist.axis.Regular(30_000, 0.25, 300), storage=hist.storage.Weight(), name="dimuon_mass"
    )
    random = np.random.default_rng(seed)
    histogram.fill(random.exponential(10, size=9 * events // 10) + 0.3)
    histogram.fill(random.normal(3.097, 0.03, size=events // 10))
    return histogram


def draw_spectrum(histogram, **resonances):
    return plotting.spectrum(
        histogram, luminosity=18.8, xlabel="Mass (GeV)", resonances=resonances or {"J/ψ": 3.097}
    )


def draw_mass_peak(data, background, signal):
    return plotting.mass_peak(
        data, background=background, signal=signal, luminosity=11580, xlabel="Mass (GeV)"
    )


def draw_stack(data, backgrounds, signals, **options):
    options = {"luminosity": 11467, "xlabel": "Mass (GeV)"} | options
    return plotting.stack(data, backgrounds=backgrounds, signals=signals, **options)


@pytest.fixture
def stacked():
    random = np.random.default_rng(3)
    backgrounds = {name: make(random.uniform(10, 50, size=6)) for name in BACKGROUNDS}
    data = make(random.poisson(sum(h.values() for h in backgrounds.values())).astype(float))
    signals = {"ggH": make(random.uniform(1, 2, size=6)), "qqH": make(np.full(6, 0.1))}
    figure = draw_stack(data, backgrounds, signals, scales={"ggH": 10, "qqH": 100})
    return data, backgrounds, signals, figure


def words(axes):
    return [text.get_text() for text in axes.texts]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def drawn(axes, label):
    """The heights and bases of the steps with a label."""
    (patch,) = [patch for patch in axes.patches if patch.get_label() == label]
    heights, _, base = patch.get_data()
    return heights, base


def point_heights(container):
    return container.lines[0].get_ydata()


def test_stack_adds_up_to_the_backgrounds_in_order(stacked):
    _, backgrounds, _, figure = stacked
    axes, _ = figure.axes
    below = np.zeros(6)
    for name in BACKGROUNDS:
        heights, base = drawn(axes, plotting.LABELS[name])
        np.testing.assert_array_equal(base, below)
        np.testing.assert_allclose(heights, below + backgrounds[name].values())
        below = heights


def test_stack_scales_signals_and_says_so(stacked):
    _, _, signals, figure = stacked
    heights, base = drawn(figure.axes[0], "gg→H (×10)")
    np.testing.assert_allclose(heights, 10 * signals["ggH"].values())
    assert base == 0
    np.testing.assert_allclose(drawn(figure.axes[0], "qq→H (×100)")[0], np.full(6, 10.0))


def test_stack_band_and_ratio_are_those_of_the_background(stacked):
    data, backgrounds, _, figure = stacked
    axes, below = figure.axes
    total = sum(h.values() for h in backgrounds.values())
    error = np.sqrt(sum(h.variances() for h in backgrounds.values()))
    upper, lower = drawn(axes, "Stat. unc.")
    np.testing.assert_allclose(upper, total + error)
    np.testing.assert_allclose(lower, total - error)
    np.testing.assert_allclose(point_heights(axes.containers[0]), data.values())
    np.testing.assert_allclose(point_heights(below.containers[0]), data.values() / total)
    (
        heights,
        base,
    ) = below.patches[0].get_data()[0], below.patches[0].get_data()[2]
    np.testing.assert_allclose(heights - 1, error / total)
    np.testing.assert_allclose(1 - base, error / total)


def test_stack_says_what_is_what(stacked):
    axes, below = stacked[3].axes
    assert legend(axes) == [
        *["Data", "Z→ττ", "Z→ℓℓ", "W+jets", r"$t\bar{t}$", "QCD multijet"],
        *["Stat. unc.", "gg→H (×10)", "qq→H (×100)"],
    ]
    assert axes.get_ylabel() == "Events / 20 GeV"
    assert below.get_xlabel() == "Mass (GeV)"
    assert below.get_ylabel() == "Data / Bkg."
    assert {"CMS", "Open Data", "11.5 fb$^{-1}$ (8 TeV)"} <= set(words(axes))


def test_stack_takes_processes_it_has_no_style_for():
    one = make(np.ones(4))
    figure = draw_stack(one, {"new": one}, {}, colors={"new": "#123456"}, xlabel="Jets")
    assert legend(figure.axes[0]) == ["Data", "new", "Stat. unc."]
    assert figure.axes[0].get_ylabel() == "Events"


def test_ratio_leaves_out_what_cannot_be_divided_and_marks_what_is_outside():
    figure = draw_stack(
        make(np.array([5.0, 0, 30, 1])), {"W": make(np.array([0.0, 9, 10, 10]))}, {}
    )
    below = figure.axes[1]
    np.testing.assert_allclose(point_heights(below.containers[0]), [3, 0.1])
    arrows = {
        line.get_marker(): line.get_xdata() for line in below.lines if line.get_marker() in "^v"
    }
    np.testing.assert_allclose(arrows["^"], [95])
    np.testing.assert_allclose(arrows["v"], [125])


def test_mass_peak_puts_the_signal_on_the_background():
    data, zz, higgs = (make(np.array(v)) for v in ([3.0, 0, 7], [2.0, 1, 0.5], [0.0, 0.2, 6]))
    axes = draw_mass_peak(data, zz, higgs).axes[0]
    np.testing.assert_allclose(drawn(axes, "ZZ")[0], [2, 1, 0.5])
    np.testing.assert_allclose(drawn(axes, r"$m_H$ = 125 GeV")[0], [2, 1.2, 6.5])
    np.testing.assert_allclose(point_heights(axes.containers[0]), [3, 7])  # no point where no event
    assert legend(axes) == ["Data", "ZZ", r"$m_H$ = 125 GeV"]
    assert axes.get_ylim()[1] > 7 + 3.7


def test_spectrum_keeps_every_event():
    histogram = make_spectrum(40_000)
    axes = draw_spectrum(histogram).axes[0]
    density, edges, _ = axes.patches[0].get_data()
    assert np.sum(density * np.diff(edges)) == pytest.approx(histogram.sum().value)
    assert (density > 0).all()
    assert set(edges) <= set(histogram.axes[0].edges)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert axes.get_ylabel() == "Events / GeV"
    np.testing.assert_allclose(axes.get_xlim(), (0.25, 300))


def test_spectrum_has_finer_bins_with_more_events():
    few, many = make_spectrum(20_000), make_spectrum(20_000)
    many.view().value *= 1000
    bins = [len(draw_spectrum(h).axes[0].patches[0].get_data()[0]) for h in (few, many)]
    assert bins[0] < bins[1] < 600


def test_spectrum_names_resonances_above_their_peaks():
    axes = draw_spectrum(make_spectrum(40_000), **{"J/ψ": 3.097, "ψ'": 3.686, "Z": 91.2}).axes[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    density, edges, _ = axes.patches[0].get_data()
    assert places["J/ψ"][0] == 3.097
    assert places["J/ψ"][1] > density.max()
    side = {text.get_text(): text.get_ha() for text in axes.texts}
    assert (side["J/ψ"], side["ψ'"]) == ("center", "left")  # clear of the higher flank
    assert axes.get_ylim()[1] > places["J/ψ"][1]


def test_every_resonance_is_named_with_few_events():
    names = {"η": 0.548, "φ": 1.02, "J/ψ": 3.097, "Z": 91.2}
    assert set(names) <= set(words(draw_spectrum(make_spectrum(400), **names).axes[0]))


def test_crowded_resonances_are_named_at_different_heights():
    axes = draw_spectrum(make_spectrum(40_000), **{"ρ,ω": 0.78, "φ": 1.02}).axes[0]
    heights = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert heights["φ"] / heights["ρ,ω"] > 1.7


def test_qcd_is_same_sign_data_less_simulation():
    data = make(np.array([10.0, 4, 5, 0]))
    simulated = [
        make(np.array([2.0, 3, 5, 1]), np.array([1.0, 2, 3, 4])),
        make(np.array([3.0, 3, 0, 0]), np.array([0.5, 0.5, 0, 0])),
    ]
    estimate = plotting.qcd_estimate(data, simulated)
    np.testing.assert_allclose(estimate.values(), [0.8 * 5, 0, 0, 0])
    np.testing.assert_allclose(estimate.variances(), 0.64 * np.array([11.5, 6.5, 8, 4]))
    np.testing.assert_array_equal(data.values(), [10, 4, 5, 0])  # the input is left alone
    assert plotting.qcd_estimate(data, simulated, factor=1).values()[0] == 5


def test_garwood_gives_the_known_intervals():
    lower, upper = plotting.garwood(np.array([0.0, 1, 4, 10, 100]))
    np.testing.assert_allclose(lower, [0, 0.17275, 2.08566, 6.89131, 90.01675], rtol=0.01)
    np.testing.assert_allclose(upper, [1.84102, 3.29953, 7.16275, 14.26695, 111.03336], rtol=0.01)


@pytest.mark.parametrize(
    ("luminosity", "text"),
    [(11467, "11.5 fb"), (11580, "11.6 fb"), (1000, "1 fb"), (800, "800 pb"), (18.817, "18.8 pb")],
)
def test_luminosity_has_three_digits(luminosity, text):
    assert plotting.luminosity_text(luminosity) == text + "$^{-1}$"


def test_histograms_are_read_with_their_variances(tmp_path):
    path = tmp_path / "histograms.root"
    weighted = make(np.array([1.0, 2, 3]), np.array([0.1, 0.2, 0.3]))
    weighted.view(flow=True)[0] = (7, 0.7)
    counts = hist.Hist(hist.axis.Variable([0, 1, 5]), storage=hist.storage.Double())
    counts.fill([0.5, 2, 3])
    with uproot.recreate(path) as file:
        file["weighted"], file["counts"] = weighted, counts
    read = plotting.read_histograms(path)
    assert list(read) == ["weighted", "counts"]
    np.testing.assert_array_equal(read["weighted"].values(flow=True), [7, 1, 2, 3, 0])
    np.testing.assert_array_equal(read["weighted"].variances(flow=True), [0.7, 0.1, 0.2, 0.3, 0])
    np.testing.assert_array_equal(read["counts"].variances(), [1, 2])
    np.testing.assert_array_equal(read["counts"].axes[0].edges, [0, 1, 5])
    assert list(plotting.read_histograms(path, ["counts"])) == ["counts"]
    with pytest.raises(KeyError, match="missing"):
        plotting.read_histograms(path, ["missing"])


def test_saving_twice_gives_the_same_bytes(tmp_path, stacked):
    first, second = tmp_path / "new" / "first", tmp_path / "second"
    for folder in (first, second):
        plotting.save(stacked[3], *(folder / name for name in PDF_AND_PNG))
        assert sorted(os.listdir(folder)) == sorted(PDF_AND_PNG)  # no temporary file is left
    for name in PDF_AND_PNG:
        assert (first / name).read_bytes() == (second / name).read_bytes()


DRAW_ONE = """
import sys, hist
from nanolake import plotting
one = hist.Hist(hist.axis.Regular(3, 0, 1), storage=hist.storage.Weight()).fill([0.1, 0.5])
parts = {"W": one, "TT": one}
figure = plotting.stack(one, backgrounds=parts, signals={}, luminosity=1, xlabel="Jets")
plotting.save(figure, *sys.argv[1:])
"""


def test_another_process_gives_the_same_bytes(tmp_path):
    for seed in ("1", "2"):
        paths = [str(tmp_path / seed / name) for name in PDF_AND_PNG]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", DRAW_ONE, *paths], check=True, env=environment)
    for name in PDF_AND_PNG:
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_files_are_readable(tmp_path, stacked):
    from PIL import Image

    plotting.save(stacked[3], *(tmp_path / name for name in PDF_AND_PNG))
    with Image.open(tmp_path / "plot.png") as image:
        assert 800 <= image.width <= 1000
    document = pypdf.PdfReader(tmp_path / "plot.pdf")
    assert len(document.pages) == 1
    assert "/CreationDate" not in document.metadata
    assert "Open Data" in document.pages[0].extract_text()


def test_a_failed_save_leaves_nothing(tmp_path, stacked):
    with pytest.raises(ValueError, match="not supported"):
        plotting.save(stacked[3], tmp_path / "plot.nonsense")
    assert os.listdir(tmp_path) == []


def test_nothing_expected_gives_a_plot():
    assert legend(draw_stack(make(np.ones(3)), {}, {}).axes[0]) == ["Data", "Stat. unc."]


@pytest.mark.parametrize("kind", ["spectrum", "mass_peak", "stack"])
def test_empty_histograms_give_a_plot(tmp_path, kind):
    none = make(np.zeros(5))
    figure = {
        "spectrum": lambda: draw_spectrum(make_spectrum(0)),
        "mass_peak": lambda: draw_mass_peak(none, none, none),
        "stack": lambda: draw_stack(none, {"W": none}, {"ggH": none}, scales={"ggH": 10}),
    }[kind]()
    plotting.save(figure, *(tmp_path / name for name in PDF_AND_PNG))
    assert all((tmp_path / name).stat().st_size > 1000 for name in PDF_AND_PNG)


def test_import_is_light():
    heavy = "{'matplotlib', 'mplhep', 'uproot', 'hist', 'pandas', 'ROOT'}"
    code = f"import sys, nanolake.plotting; print({heavy} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert result.stdout.strip() == b"set()"
