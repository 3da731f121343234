"""The works that pages cite, and how a sentence names them."""

from __future__ import annotations

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
    "apgd": "Croce F, Hein M. Reliable evaluation of adversarial robustness with an ensemble of diverse "
    "parameter-free attacks. ICML 2020. arXiv:2003.01690.",
    "square": "Andriushchenko M, Croce F, Flammarion N, Hein M. Square Attack: a query-efficient black-box adversarial "
    "attack via random search. ECCV 2020. arXiv:1912.00049.",
    "segpgd": "Gu J, Zhao H, Tresp V, Torr PHS. SegPGD: an effective and efficient adversarial attack for "
    "evaluating and boosting segmentation robustness. ECCV 2022. arXiv:2207.12391.",
    "cospgd": "Agnihotri S, Jung S, Keuper M. CosPGD: an efficient white-box adversarial attack for pixel-wise "
    "prediction tasks. ICML 2024. arXiv:2302.02213.",
    "sea": "Croce F, Singh ND, Hein M. Towards reliable evaluation and fast training of robust semantic segmentation "
    "models. ECCV 2024. arXiv:2306.12941.",
    "bias-field": "Chen C, Qin C, Qiu H, et al. Realistic adversarial data augmentation for MR image segmentation. "
    "MICCAI 2020. arXiv:2006.13322.",
    "frequency": "Hanif A, Naseer M, Khan S, Shah M, Khan FS. Frequency domain adversarial training for robust "
    "volumetric medical segmentation. MICCAI 2023. arXiv:2307.07269.",
    "deformation": "Choi Y, Lee S. Injectivity conditions of 2D and 3D uniform cubic B-spline functions. Graphical "
    "Models 2000; 62(6):411-427.",
    "degradation": "Boone L, Biparva M, Mojiri Forooshani P, et al. ROOD-MRI: benchmarking the robustness of deep "
    "learning segmentation models to out-of-distribution and corrupted data in MRI. NeuroImage 2023; 278:120289. "
    "doi:10.1016/j.neuroimage.2023.120289.",
    "torchio": "P\u00e9rez-Garc\u00eda F, Sparks R, Ourselin S. TorchIO: a Python library for efficient loading, "
    "preprocessing, augmentation and patch-based sampling of medical images in deep learning. Computer Methods and "
    "Programs in Biomedicine 2021; 208:106236. doi:10.1016/j.cmpb.2021.106236.",
    "certified": "Fischer M, Baader M, Vechev M. Scalable certified segmentation via randomized smoothing. ICML 2021. "
    "PMLR 139:3340-3351.",
    "calibration": "Guo C, Pleiss G, Sun Y, Weinberger KQ. On calibration of modern neural networks. ICML 2017. "
    "arXiv:1706.04599.",
}
CITED = {
    "fgsm": "Goodfellow et al. 2015",
    "ifgsm": "Kurakin et al. 2017",
    "pgd": "Madry et al. 2018",
    "apgd": "Croce and Hein 2020",
    "square": "Andriushchenko et al. 2020",
    "segpgd": "Gu et al. 2022",
    "cospgd": "Agnihotri et al. 2024",
    "sea": "Croce et al. 2024",
    "bias-field": "Chen et al. 2020",
    "frequency": "Hanif et al. 2023",
    "deformation": "Choi and Lee 2000",
}
"""For attacks, objectives and perturbation sets, by their registered names."""
_PRESETS = {
    "pgd-ce": "pgd",
    "apgd-ce": "apgd",
    "apgd-dice": "apgd",
    "apgd-masked-ce": "sea",
    "apgd-segpgd": "sea",
    "apgd-js": "sea",
    "apgd-spherical": "sea",
    "vafa": "frequency",
}


def work_of(name: str) -> str:
    """Under which name the work behind an attack, an objective or a set stands here.

    >>> work_of("apgd-ce"), work_of("pgd")
    ('apgd', 'pgd')
    """
    return _PRESETS.get(name, name)
