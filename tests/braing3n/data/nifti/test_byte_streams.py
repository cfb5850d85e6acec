import gzip
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from braing3n.data.nifti.byte_streams import BrokenStreamError, ByteStream


def _everything(path, sizes):
    """Read pieces of `sizes` by turns of the three ways, then the rest; return what was read."""
    with ByteStream(path) as stream:
        taken = bytearray()
        for number, size in enumerate(sizes):
            if number % 2:
                target = bytearray(size)
                taken += target[: stream.read_into(target)]
            else:
                taken += stream.read(size)
        return bytes(taken), *stream.finish()


@given(members=st.lists(st.binary(max_size=3000), min_size=1, max_size=3),
       is_compressed=st.booleans(), sizes=st.lists(st.integers(0, 2500), max_size=4))
def test_pieces_of_any_size_are_those_of_the_content(members, is_compressed, sizes,
                                                     tmp_path_factory):
    path = tmp_path_factory.mktemp("s") / "a"
    content = b"".join(members)
    stored = b"".join(map(gzip.compress, members)) if is_compressed else b"n" + content
    content = content if is_compressed else b"n" + content
    path.write_bytes(stored)
    taken, left, digest = _everything(path, sizes)
    assert taken == content[: sum(sizes)]
    assert left == len(content) - len(taken)
    assert digest == hashlib.sha256(stored).hexdigest()


def test_skipping_leaves_the_stream_where_reading_would(tmp_path):
    content = bytes(range(256)) * 20_000
    (tmp_path / "a").write_bytes(gzip.compress(content))
    with ByteStream(tmp_path / "a") as stream:
        assert stream.skip(1_000_003) == 1_000_003
        assert stream.read(10) == content[1_000_003:1_000_013]
        assert stream.skip(len(content)) == len(content) - 1_000_013


def test_what_follows_a_stream_counts_as_left_over(tmp_path):
    (tmp_path / "a").write_bytes(gzip.compress(b"scan") + b"not gzip")
    assert _everything(tmp_path / "a", [4])[:2] == (b"scan", 8)


def test_the_name_and_the_comment_that_gzip_keeps_are_read(tmp_path):
    plain = gzip.compress(b"scan", mtime=0)
    for flags, fields, expected in (
            (0, b"", (b"", b"")), (8, b"a.nii\0", (b"a.nii", b"")), (16, b"by x\0", (b"", b"by x")),
            (4 | 8 | 16, b"\3\0\0b\0" + b"a.nii\0by x\0", (b"a.nii", b"by x"))):
        (tmp_path / "a").write_bytes(plain[:3] + bytes([flags]) + plain[4:10] + fields + plain[10:])
        with ByteStream(tmp_path / "a") as stream:
            assert stream.read(9) == b"scan"
            assert (stream.gzip_name, stream.gzip_comment) == expected


def test_the_first_bytes_of_what_is_left_are_kept(tmp_path):
    content = bytes(range(256)) * 10_000
    (tmp_path / "a").write_bytes(gzip.compress(content))
    with ByteStream(tmp_path / "a") as stream:
        assert stream.read(3) == content[:3]
        stream.finish()
        assert stream.tail == content[3 : 3 + 2**20]


@pytest.mark.parametrize(("damage", "code"), [
    (lambda b: b[:-1], "gzip-truncated"), (lambda b: b[:30], "gzip-truncated"),
    (lambda b: b[:-8] + bytes([b[-8] ^ 1]) + b[-7:], "gzip-damaged"),    # checksum
    (lambda b: b[:-4] + bytes([b[-4] ^ 1]) + b[-3:], "gzip-damaged"),    # length
    (lambda b: b[:12] + bytes(20) + b[32:], "gzip-damaged"),
])
def test_a_damaged_stream_is_refused_by_its_own_rule(damage, code, tmp_path):
    (tmp_path / "a").write_bytes(damage(gzip.compress(bytes(range(256)) * 64)))
    with pytest.raises(BrokenStreamError) as caught:
        _everything(tmp_path / "a", [10])
    assert caught.value.code == code


def test_a_small_file_that_grows_without_end_is_given_up(tmp_path):
    bomb = zlib.compressobj(9, wbits=31)
    block = bytes(1 << 24)
    (tmp_path / "a").write_bytes(b"".join(bomb.compress(block) for _ in range(20)) + bomb.flush())
    with pytest.raises(BrokenStreamError, match="without end"):
        _everything(tmp_path / "a", [10])
