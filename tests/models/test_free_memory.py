"""Free memory by what the system says, and what tiled models may hold of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from imaseg.models import free_memory
from imaseg.models.free_memory import free_bytes, tiles_keep_graphs
from imaseg.tiling import TiledModel


def test_memory_is_what_machine_and_container_leave(tmp_path, monkeypatch):
    (meminfo := tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:    500 kB\n")
    monkeypatch.setattr(free_memory, "_MEMINFO", meminfo)
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path)
    assert free_bytes() == 500 * 1024
    (tmp_path / "memory.max").write_text("300000\n")
    (tmp_path / "memory.current").write_text("250000\n")
    (tmp_path / "memory.stat").write_text("active_file 7\ninactive_file 40000\n")
    assert free_bytes() == 90000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_bytes() == 500 * 1024
    meminfo.unlink()
    assert free_bytes() is None


def test_tiles_share_a_part_of_what_is_free_and_give_it_back(monkeypatch):
    monkeypatch.setattr(free_memory, "free_bytes", lambda: 8_000_000)
    tiled = [TiledModel(nn.Conv2d(1, 2, 3, padding=1), 8), TiledModel(nn.Conv2d(1, 2, 3, padding=1), 8, memory=5.0)]
    model = nn.ModuleList([*tiled, nn.Conv2d(1, 1, 1)])
    with tiles_keep_graphs(model):
        assert [one.memory for one in tiled] == [1_000_000, 1_000_000]
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        with tiles_keep_graphs(model):
            assert tiled[0].memory == 250_000
    assert [one.memory for one in tiled] == [0.0, 5.0]
    monkeypatch.setattr(free_memory, "free_bytes", lambda: None)
    with pytest.raises(RuntimeError), tiles_keep_graphs(model):
        assert tiled[0].memory == 0
        raise RuntimeError
    assert tiled[1].memory == 5.0
    with tiles_keep_graphs(nn.Identity()):
        assert torch.is_grad_enabled()
