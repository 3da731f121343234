"""The publication behind the objectives of SEA (semantic ensemble attack), and its first version."""

SEA = (
    "Croce F, Singh ND, Hein M. Towards reliable evaluation and fast training of robust semantic segmentation "
    "models. ECCV 2024. arXiv:2306.12941."
)
CITED = "Croce et al. 2024"
SEA_V1 = (
    "Croce F, Singh ND, Hein M. Robust semantic segmentation: strong adversarial attacks and fast training of robust "
    "models. 2023. arXiv:2306.12941v1."
)
CITED_V1 = "Croce et al. 2023"
