"""The works that pages cite beside those of attacks, objectives and sets, which stand on their classes."""

from __future__ import annotations

WORKS = {
    "ima": "Ma L, Liang L. Increasing-Margin Adversarial (IMA) training to improve adversarial robustness of "
    "neural networks. Computer Methods and Programs in Biomedicine 2023; 240:107687. doi:10.1016/j.cmpb.2023.107687.",
    "monai": "Cardoso MJ, Li W, Brown R, et al. MONAI: an open-source framework for deep learning in healthcare. "
    "2022. arXiv:2211.02701.",
    "surface": "Nikolov S, Blackwell S, Zverovitch A, et al. Clinically applicable segmentation of head and neck "
    "anatomy for radiotherapy: deep learning algorithm development and validation study. J Med Internet Res 2021; "
    "23(7):e26151.",
    "evaluate": "Carlini N, Athalye A, Papernot N, et al. On evaluating adversarial robustness. 2019. "
    "arXiv:1902.06705.",
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
    "panoptic": "Kirillov A, He K, Girshick R, Rother C, Doll\u00e1r P. Panoptic segmentation. CVPR 2019. "
    "arXiv:1801.00868.",
    "agreement": "Bland JM, Altman DG. Statistical methods for assessing agreement between two methods of clinical "
    "measurement. Lancet 1986; 327(8476):307-310. doi:10.1016/S0140-6736(86)90837-8.",
}
