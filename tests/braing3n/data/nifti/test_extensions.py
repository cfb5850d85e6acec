import struct

from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.nifti.extensions import UNREADABLE, Extension, read_extensions


def _block(order, *pairs):
    return b"".join(struct.pack(f"{order}ii", 8 + len(content), code) + content for code,
                    content in pairs)


@given(st.sampled_from("<>"),
       st.lists(st.tuples(st.integers(0, 46), st.binary(max_size=40)), max_size=5),
       st.integers(0, 40))
def test_what_was_written_is_read_back_and_padding_is_nothing(order, pairs, padding):
    block = _block(order, *pairs) + bytes(padding)
    assert read_extensions(block, order) == tuple(Extension(*pair) for pair in pairs)


@given(st.binary(max_size=200), st.sampled_from("<>"))
def test_no_byte_of_a_damaged_block_is_passed_over(block, order):
    found = read_extensions(block, order)
    laid_out = sum(8 + len(content) for code, content in found if code != UNREADABLE)
    rest = b"".join(content for code, content in found if code == UNREADABLE)
    assert rest == block[laid_out:] or (not rest and not any(block[laid_out:]))


def test_a_size_beyond_the_block_makes_the_rest_unreadable():
    block = _block("<", (6, b"a comment")) + struct.pack("<ii", 1 << 30, 2) + b"DOE^JANE"
    assert read_extensions(block, "<")[1] == (UNREADABLE, block[17:])


def test_a_flood_of_tiny_extensions_is_not_followed_to_its_end():
    found = read_extensions(struct.pack("<ii", 8, 6) * 5000, "<")
    assert len(found) == 1001
    assert found[-1].code == UNREADABLE
