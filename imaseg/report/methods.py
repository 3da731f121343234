"""A methods paragraph ready for a paper or a file, the works it cites, and what produced the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from imaseg.report.compare import RESAMPLES, all_series, ladder
from imaseg.report.numerals import attack_name, count, listing, set_name, short, unit_name
from imaseg.report.parts import Table, row
from imaseg.report.read import Audit
from imaseg.report.schema import Model, Run
from imaseg.report.words import settings

WORKS = {
    "fgsm": "Goodfellow IJ, Shlens J, Szegedy C. Explaining and harnessing adversarial examples. ICLR "
    "2015. arXiv:1412.6572.",
    "ifgsm": "Kurakin A, Goodfellow IJ, Bengio S. Adversarial examples in the physical world. ICLR "
    "Workshop 2017. arXiv:1607.02533.",
    "pgd": "Madry A, Makelov A, Schmidt L, Tsipras D, Vladu A. Towards deep learning models resistant "
    "to adversarial attacks. "
    "ICLR 2018. arXiv:1706.06083.",
    "ima": "Ma L, Liang L. Increasing-Margin Adversarial (IMA) training to improve adversarial "
    "robustness of neural networks. "
    "Computer Methods and Programs in Biomedicine 2023; 240:107687. doi:10.1016/j.cmpb.2023.107687.",
    "monai": "Cardoso MJ, Li W, Brown R, et al. MONAI: an open-source framework for deep learning in "
    "healthcare. 2022. "
    "arXiv:2211.02701.",
    "surface": "Nikolov S, Blackwell S, Zverovitch A, et al. Clinically applicable segmentation of head "
    "and neck anatomy for "
    "radiotherapy: deep learning algorithm development and validation study. J Med Internet Res 2021; 23(7):e26151.",
    "evaluate": "Carlini N, Athalye A, Papernot N, et al. On evaluating adversarial robustness. 2019. "
    "arXiv:1902.06705.",
}
_CITED = {"fgsm": "Goodfellow et al. 2015", "ifgsm": "Kurakin et al. 2017", "pgd": "Madry et al. 2018"}


def paragraph(audits: Sequence[Audit]) -> str:
    """What was done, in the past tense, with the numbers a reviewer asks for."""
    versions = sorted({audit.run.imaseg for audit in audits if audit.run.imaseg})
    tool = f"imaseg {listing(versions)}" if versions else "imaseg (version not recorded)"
    data = [f"{count(a.summary.data.cases, 'case')} of {a.summary.data.name}" for a in audits]
    text = [
        f"Robustness was audited with {tool}, which builds on MONAI (Cardoso et al. 2022), on "
        f"{listing(list(dict.fromkeys(data)))}.",
        f"The probes were, {_probes(audits)}.",
        _margins(audits),
        "Segmentations were scored by Dice, surface Dice at a tolerance of one voxel (Nikolov et "
        "al. 2021), the 95th percentile of "
        "the Hausdorff distance (mm) and the volume predicted for structures absent from the label "
        "(mm\u00b3), each averaged over "
        "the foreground structures of a case and then over cases, undefined values left out and counted.",
        "Intervals are 95 % bootstrap intervals over cases" + _pairing(audits),
        "The audit checks its own attacks by the criteria listed under Validity (after Carlini et al. 2019).",
    ]
    if _trained_by_ima(audits):
        text.append(
            f"Trained with Increasing-Margin Adversarial training (Ma and Liang 2023): "
            f"{listing(_trained_by_ima(audits))}."
        )
    return " ".join(part for part in text if part)


def works(audits: Sequence[Audit]) -> list[str]:
    """The works behind what this page uses, by name."""
    used = {series.attack for series in all_series(audits)} | {"monai", "surface", "evaluate"}
    if _trained_by_ima(audits) or any(audit.summary.margins for audit in audits):
        used.add("ima")
    return sorted(text for key, text in WORKS.items() if key in used)


def provenance(audits: Sequence[Audit]) -> Table:
    """Versions, hashes, seed, hardware and cost, one column per model."""
    facts = [facts_of(audit.summary.model, audit.run) for audit in audits]
    rows = [
        row(name, *(fact.get(name) or "not recorded" for fact in facts))
        for name in dict.fromkeys(n for f in facts for n in f)
    ]
    return Table("What produced these numbers", ["", *(audit.name for audit in audits)], rows, numeric=False)


def facts_of(model: Model, run: Run, *, settings: tuple[str, str | None] | None = None) -> dict[str, str]:
    """Versions, hashes, seed, hardware and cost of a run by name; empty where nothing was recorded.

    Args:
        model: that was run.
        run: its record.
        settings: what the settings are called, and their hash; those of an audit's plan if not given.
    """
    called, digest = settings if settings is not None else ("Plan", run.plan_sha256)
    facts = {
        "Model": model.spec,
        "Network": model.network,
        "Parameters": f"{model.parameters:,}" if model.parameters is not None else "",
        "Trained by": model.trained_by or "",
        "Model SHA-256": model.sha256,
        "Data SHA-256": run.data_sha256 or "",
        f"{called} SHA-256": digest or "",
        "Seed": "" if run.seed is None else str(run.seed),
        "imaseg": run.imaseg or "",
    }
    facts |= {name: version or "" for name, version in run.versions.items()}
    facts |= {f"Hardware: {name}": str(value) for name, value in run.hardware.items() if value is not None}
    facts["Time (s)"] = "" if run.seconds is None else short(run.seconds)
    facts["Forward calls"] = "" if run.forward_calls is None else f"{run.forward_calls:,}"
    facts["Backward calls"] = "" if run.backward_calls is None else f"{run.backward_calls:,}"
    facts["Command"] = run.command or ""
    return facts


def _probes(audits: Sequence[Audit]) -> str:
    groups: dict[tuple[str, str], list[str]] = {}
    for series in all_series(audits):
        points = [point for audit in audits for point in ladder(audit, series)]
        eps = ", ".join(short(value) for value in sorted({point.eps for point in points}))
        cited = f" ({_CITED[series.attack]})" if series.attack in _CITED else ""
        how = "; ".join(dict.fromkeys(settings(point) for point in points))
        said = f"{attack_name(series.attack)}{cited} [{how}]"
        groups.setdefault((set_name(series.perturbation), f"{eps} {unit_name(series.unit)}"), []).append(said)
    return "; ".join(f"in the {ball} at eps {eps}: {listing(said)}" for (ball, eps), said in groups.items()) or "none"


def _margins(audits: Sequence[Audit]) -> str:
    found = dict.fromkeys(
        f"{set_name(m.perturbation)}, criterion {m.criterion}, up to {short(m.eps)} {unit_name(m.unit)}"
        for audit in audits
        for m in audit.summary.margins
    )
    return (
        "Margins, the quantity that Increasing-Margin Adversarial training grows (Ma and Liang 2023), were found by "
        f"search for the smallest budget that meets a criterion ({'; '.join(found)})."
        if found
        else ""
    )


def _pairing(audits: Sequence[Audit]) -> str:
    if len(audits) == 1:
        return "."
    return f"; differences between models are paired by case ({RESAMPLES} resamples)."


def _trained_by_ima(audits: Sequence[Audit]) -> list[str]:
    return [audit.name for audit in audits if (audit.summary.model.trained_by or "").lower() == "ima"]
