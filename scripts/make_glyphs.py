"""Make sslkuramoto/data/glyphs/dejavu_sans.png, the shipped pictures of one hundred characters, from matplotlib's font.

Another version of FreeType may render other greys; HASH in sslkuramoto/data/glyphs/bitmaps.py then has to be the one
that this prints, and figures measured on the old file are of other pictures. DejaVu Sans may be used and changed freely
(licence of Bitstream Vera).
"""

from pathlib import Path

from matplotlib import get_data_path
from PIL import Image, features

from sslkuramoto.data.glyphs.bitmaps import CHARACTERS, FILE, as_sheet, font_bitmaps, hash_of


def main() -> None:
    """Write the file and print the hash of its bitmaps."""
    font = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    bitmaps = font_bitmaps(str(font), CHARACTERS)
    Image.fromarray(as_sheet(bitmaps).numpy()).save(FILE, optimize=True)
    print(f"{FILE}: {len(bitmaps)} glyphs, FreeType {features.version('freetype2')}, sha256 {hash_of(bitmaps)}")


if __name__ == "__main__":
    main()
