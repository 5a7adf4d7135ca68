"""Raw rows on their way: copied once, and no more of them than was asked for."""

import os

import pyarrow as pa

from medmo_ray.stream.flat import ipc_buffer, ipc_table


def rows(count: int) -> pa.Table:
    images = [[{"bytes": os.urandom(10_000), "width_px": index}] * (index % 3) for index in range(count)]
    fields = pa.struct([("bytes", pa.large_binary()), ("width_px", pa.int32())])
    return pa.table({"id": [str(index) for index in range(count)], "images": pa.array(images, pa.list_(fields))})


def test_rows_come_back_in_the_order_in_which_they_were_taken() -> None:
    table = rows(30)
    taken = pa.concat_tables([table.slice(row, 1) for row in (17, 3, 29, 0)])
    assert ipc_table(ipc_buffer(taken)).to_pylist() == table.take([17, 3, 29, 0]).to_pylist()


def test_a_view_of_a_few_rows_travels_without_the_others() -> None:
    table = rows(300)
    assert ipc_buffer(table).nbytes > 2_900_000
    assert 40_000 < ipc_buffer(pa.concat_tables([table.slice(row, 1) for row in (2, 5)])).nbytes < 45_000


def test_no_rows_are_a_table_too() -> None:
    table = rows(3).slice(0, 0)
    assert ipc_table(ipc_buffer(table)).schema == table.schema
