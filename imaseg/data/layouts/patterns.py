"""Cases found by file names: by the patterns of a recipe, or by words such as `_image` and `_label`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from imaseg.data.cases import Case
from imaseg.data.files import images_among, is_picture, stem, walk
from imaseg.data.layouts.time_limit import matching_ends
from imaseg.errors import InputError

_TOKEN = re.compile(r"\{(?P<name>[a-z]+)(?::(?P<regex>(?:[^{}]|\{\d*,?\d*\})+))?\}|(?P<deep>\*\*/)|(?P<star>\*)")
_LABEL_WORD = re.compile(
    r"[_\-. ]?(label|labels|labelmap|seg|segm|segmentation|segmentations|mask|masks|gt|groundtruth|ground_truth)$", re.I
)
_IMAGE_WORD = re.compile(r"[_\-. ]?(image|img|imaging|scan|volume)$", re.I)


@dataclass(frozen=True)
class Layout:
    r"""Where the files of a case lie, as patterns of paths below the data set's folder.

    `{id}` is the id of the case, `{patient}` its patient; `{id:\d+}` matches by a regular expression.
    `*` is anything within one name, `**/` any folders or none.

    Attributes:
        images: a pattern per channel.
        label: pattern of the label; None for a cohort without labels.
    """

    images: tuple[str, ...]
    label: str | None = None

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012


def matched(root: Path, layout: Layout) -> list[Case]:
    """Cases whose first channel exists, with the paths that their other files have or should have.

    Raises:
        InputError: if a pattern is malformed, or two files match for one case.
    """
    files = list(_files(root))
    channels = [_index(root, pattern, files) for pattern in layout.images]
    labels = _index(root, layout.label, files) if layout.label else {}
    cases = []
    for name, (first, groups) in channels[0].items():
        others = zip(channels[1:], layout.images[1:], strict=True)
        image = [first, *(_found(root, first, index, pattern, groups) for index, pattern in others)]
        label = _found(root, first, labels, layout.label, groups) if layout.label and labels else None
        cases.append(Case(name, tuple(image), label, patient=groups.get("patient", "")))
    return cases


def named_pairs(root: Path) -> list[Case]:
    """Cases of folders that hold `x_image` and `x_label`, `x` and `x_seg`, `imaging` and `segmentation` or alike.

    Empty if no image has a label in the same folder, since this is another layout then.
    """
    images: dict[tuple[Path, str], Path] = {}
    labels: dict[tuple[Path, str], Path] = {}
    paths = images_among(root / name for name in _files(root))
    volumes = [path for path in paths if not is_picture(path)]
    for path in volumes or paths:
        name = stem(path)
        bare = without_label_word(name)
        if bare != name:
            labels[path.parent, bare] = path
        else:
            images[path.parent, without_image_word(name)] = path
    if not images.keys() & labels.keys():
        return []
    suffix = next(iter(labels.values()))
    ids = _ids(root, list(images))
    return [
        Case(ids[key], (path,), labels.get(key) or key[0] / f"{key[1]}_{_word(suffix)}")
        for key, path in sorted(images.items())
    ]


def without_label_word(name: str) -> str:
    """Remove a final word such as `_label` or `_mask` from a stem.

    >>> without_label_word("ISIC_0001_segmentation"), without_label_word("Case00"), without_label_word("segmentation")
    ('ISIC_0001', 'Case00', '')
    """
    return _LABEL_WORD.sub("", name)


def without_image_word(name: str) -> str:
    """Remove a final word such as `_image` or `_scan` from a stem.

    >>> without_image_word("case_01_img"), without_image_word("case_01")
    ('case_01', 'case_01')
    """
    return _IMAGE_WORD.sub("", name)


def _word(label: Path) -> str:
    return label.name.removeprefix(without_label_word(stem(label))).lstrip("_-. ")


def _ids(root: Path, keys: list[tuple[Path, str]]) -> dict[tuple[Path, str], str]:
    """Ids of cases: file names if they are unique, else folder names if these are, else paths."""
    for name in (lambda key: key[1], lambda key: key[0].name):
        names = [name(key) for key in keys]
        if all(names) and len(set(names)) == len(names):
            return dict(zip(keys, names, strict=True))
    whole = [(*key[0].relative_to(root).parts, *([key[1]] if key[1] else [])) for key in keys]
    return {key: "_".join(parts) or root.resolve().name for key, parts in zip(keys, whole, strict=True)}


def _files(root: Path) -> Iterator[str]:
    """Sorted paths of files relative to `root`, with forward slashes, without hidden files and folders."""
    for folder, names in walk(root):
        inside = folder.relative_to(root)
        yield from ((inside / name).as_posix() for name in names)


def _index(root: Path, pattern: str, files: list[str]) -> dict[str, tuple[Path, dict[str, str]]]:
    expression = _compiled(pattern)
    with matching_ends(pattern):
        matches = [(name, match) for name in files if (match := expression.fullmatch(name)) is not None]
    files_by_case: dict[str, tuple[Path, dict[str, str]]] = {}
    for name, match in matches:
        case = _flat(match["id"])
        if case in files_by_case:
            here, there = files_by_case[case][0].relative_to(root), name
            msg = f"{root} must hold one file per case for {pattern!r}, got {here} and {there} for {case}."
            raise InputError(msg)
        files_by_case[case] = root / name, match.groupdict()
    return files_by_case


def _flat(name: str) -> str:
    """An id usable as a file name, with slashes replaced."""
    return name.replace("/", "_")


def _found(
    root: Path,
    first: Path,
    index: Mapping[str, tuple[Path, dict[str, str]]],
    pattern: str,
    groups: Mapping[str, str],
) -> Path:
    """The file of a case, or the path it should have: in the folder of the first file if the pattern has `**/`."""
    if _flat(groups["id"]) in index:
        return index[_flat(groups["id"])][0]
    name = _TOKEN.sub(lambda token: groups.get(token["name"] or "", "" if token["deep"] else "*"), pattern)
    return first.parent / Path(name).name if "**/" in pattern else root / name


def _compiled(pattern: str) -> re.Pattern[str]:
    parts, end, seen = [], 0, set()
    for token in _TOKEN.finditer(pattern):
        parts.append(re.escape(pattern[end : token.start()]))
        end, name = token.end(), token["name"]
        if token["deep"]:
            parts.append("(?:.*/)?")
        elif token["star"]:
            parts.append("[^/]*")
        elif name in seen:
            parts.append(f"(?P={name})")
        else:
            seen.add(name)
            parts.append(f"(?P<{name}>{token['regex'] or '[^/]+?'})")
    parts.append(re.escape(pattern[end:]))
    try:
        expression = re.compile("".join(parts))
    except (re.error, RecursionError, OverflowError) as error:
        msg = f"layout pattern must be readable, got {pattern!r} ({error})."
        raise InputError(msg) from error
    if "id" not in seen:
        msg = f"layout pattern must hold {{id}}, got {pattern!r}."
        raise InputError(msg)
    return expression
