"""Networks in files of SONATA and BSB, written by h5py with the layout of those programs."""

import gzip
import json
from pathlib import Path

import h5py
import numpy as np
from conftest import ROOT

FIXTURES = ROOT / "tests/fixtures/networks"


def unpacked(name: str, folder: Path) -> tuple[Path, dict[str, np.ndarray]]:
    """A network that its own program wrote, and what that program reads from it.

    `scripts/peers/golden_networks.py` wrote both.
    """
    path = folder / name
    path.write_bytes(gzip.decompress((FIXTURES / f"{name}.gz").read_bytes()))
    with np.load(FIXTURES / f"{name}.npz") as expected:
        return path, dict(expected)


def sonata(path: Path, columns: dict, groups: dict, name: str = "a_to_b", ends=("a", "b")) -> None:
    """Add an edge population to a SONATA file.

    Args:
      columns: datasets of the population, such as source_node_id.
      groups: datasets by name of each group of attributes, by its number.
    """
    with h5py.File(path, "a") as file:
        file.attrs["magic"], file.attrs["version"] = np.uint32(0x0A7A), np.uint32([0, 1])
        population = file.require_group(f"edges/{name}")
        for column, values in columns.items():
            population[column] = values
        for column, end in zip(("source_node_id", "target_node_id"), ends, strict=True):
            if column in population:
                population[column].attrs["node_population"] = end
        for number, attributes in groups.items():
            group = population.create_group(str(number))
            for attribute, values in attributes.items():
                group[attribute] = values


def types(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write an edge types file: columns divided by spaces, NULL for none, quotes around spaces."""
    names = list(dict.fromkeys(name for row in rows for name in row))

    def field(value: object) -> str:
        text = "NULL" if value is None else str(value)
        return f'"{text}"' if " " in text else text

    lines = [" ".join(names), *("  ".join(field(row.get(n)) for n in names) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def number(chunk: tuple[int, int, int]) -> int:
    """The number of a chunk of BSB, from its coordinates."""
    return sum((coordinate % 2**16) << (16 * axis) for axis, coordinate in enumerate(chunk))


def bsb(path: Path, placed: dict, connections: dict) -> None:
    """Write a network as the storage engine of BSB 4 and later does.

    Args:
      placed: number of cells by chunk, by type.
      connections: by name: source type, target type, source cells, target cells.
    """
    with h5py.File(path, "w") as file:
        for cell_type, counts in placed.items():
            group = file.create_group(f"placement/{cell_type}")
            group.attrs["chunks"] = json.dumps({number(c): n for c, n in counts.items()})
            for chunk, count in counts.items():
                group[f"{number(chunk)}/position"] = np.full((count, 3), float(number(chunk)))
        for name, (pre, post, source, target) in connections.items():
            group = file.create_group(f"connectivity/{name}")
            group.attrs["pre"], group.attrs["post"] = pre, post
            group.attrs["len"] = len(source)
            source_chunk, source = _in_chunks(placed[pre], np.asarray(source, int))
            target_chunk, target = _in_chunks(placed[post], np.asarray(target, int))
            group.create_group("inc")
            for chunk in placed[post]:
                block = group.create_group(f"inc/{number(chunk)}")
                local, other, listed = [], [], []
                # The order of the source chunks is that in which they were connected.
                for from_chunk in reversed(list(placed[pre])):
                    here = np.array(
                        [
                            a == from_chunk and b == chunk
                            for a, b in zip(source_chunk, target_chunk, strict=True)
                        ],
                        bool,
                    )
                    block.attrs[str(number(from_chunk))] = sum(map(len, local))
                    listed.append(from_chunk)
                    local.append(target[here])
                    other.append(source[here])
                block.attrs["chunk_list"] = np.array(listed, np.int16)
                for dataset, cells in (("local_locs", local), ("global_locs", other)):
                    cells = np.concatenate(cells)
                    block[dataset] = np.column_stack([cells, cells * 0 + 1, cells * 0 + 2])


def _in_chunks(counts: dict, cells: np.ndarray) -> tuple[list, np.ndarray]:
    """The chunk of each cell, and its number there."""
    chunks = sorted(counts, key=number)
    borders = np.cumsum([0, *(counts[chunk] for chunk in chunks)])
    place = np.searchsorted(borders, cells, side="right") - 1
    return [chunks[k] for k in place], cells - borders[place]


def bsb3(path: Path, runs: dict, connections: dict) -> None:
    """Write a network as BSB 3 does.

    Args:
      runs: by type, the first identifier and the length of each run, one after the other.
      connections: pairs of identifiers by name.
    """
    with h5py.File(path, "w") as file:
        for cell_type, numbers in runs.items():
            file[f"cells/placement/{cell_type}/identifiers"] = np.array(numbers, np.int32)
        file.create_group("cells/connections")
        for name, pairs in connections.items():
            file[f"cells/connections/{name}"] = np.array(pairs, float).reshape(-1, 2)
