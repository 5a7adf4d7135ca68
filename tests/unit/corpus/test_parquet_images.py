"""Images inside Parquet files: each row gets its own, whatever was read before."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from medmo_ray.corpus.raw_files import RawFiles
from medmo_ray.corpus.rows import Row, parquet_bytes


def write(path: Path, mark: bytes) -> None:
    images = [{"bytes": mark + bytes([number]), "path": None} for number in range(7)]
    pq.write_table(pa.table({"image": images}), path, row_group_size=3)


def read(root: Path, file: str, number: int) -> bytes:
    place = {"_group": number // 3, "_row": number % 3}
    return parquet_bytes(RawFiles(root), Row(str(number), file, number, place, None), "image")


def test_rows_of_two_files_in_any_order_get_their_own_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.parquet", name.encode())
    for number in (0, 1, 6, 2, 0):
        for name in ("a", "b"):
            assert read(tmp_path, f"{name}.parquet", number) == name.encode() + bytes([number])


def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", b"old")
    assert read(tmp_path, "a.parquet", 4) == b"old\x04"
    write(tmp_path / "new", b"longer")
    (tmp_path / "new").replace(tmp_path / "a.parquet")
    assert read(tmp_path, "a.parquet", 4) == b"longer\x04"
