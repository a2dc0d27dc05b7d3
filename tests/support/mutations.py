"""Damage to files: by chance, and as somebody would do it who wants a reader to fail.

Every mutation takes bytes and a seeded generator and returns other bytes. `mutate` chooses among
those of a file's form; what it chose is told, so that a failure can be named and repeated.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    Mutation = Callable[[bytes, random.Random], bytes]

CARD = 80
BLOCK = 2880

FORMS = ("fits", "text", "yaml", "xml", "parquet")
"""What a file is made of, for `mutate`."""


def mutate(content: bytes, form: str, generator: random.Random) -> tuple[bytes, str]:
    """Change a file in one way, sometimes in two or three; return what was done."""
    done = []
    for _ in range(generator.choice((1, 1, 1, 1, 2, 3))):
        named = _ANYTHING if generator.random() < 0.25 else _BY_FORM[form]
        mutation = generator.choice(named)
        changed = mutation(content, generator)
        if changed:
            content = changed
        done.append(mutation.__name__)
    return content, "+".join(done)


# --- bytes ------------------------------------------------------------------------------------


def _place(content: bytes | bytearray, generator: random.Random) -> int:
    """Return a place, in half of the cases in the first few kilobytes, where headers are."""
    n_bytes = max(1, len(content))
    return generator.randrange(min(n_bytes, 6000) if generator.random() < 0.5 else n_bytes)


def other_bytes(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    for _ in range(generator.choice((1, 2, 4, 16))):
        changed[_place(changed, generator)] = generator.randrange(256)
    return bytes(changed)


def other_bit(content: bytes, generator: random.Random) -> bytes:
    changed = bytearray(content or b"\0")
    changed[_place(changed, generator)] ^= 1 << generator.randrange(8)
    return bytes(changed)


def cut(content: bytes, generator: random.Random) -> bytes:
    return content[: _place(content, generator)]


def cut_at_block(content: bytes, generator: random.Random) -> bytes:
    return content[: generator.randrange(len(content) // BLOCK + 1) * BLOCK]


def left_out(content: bytes, generator: random.Random) -> bytes:
    start = _place(content, generator)
    return content[:start] + content[start + generator.choice((1, 8, 80, 2880)) :]


def said_twice(content: bytes, generator: random.Random) -> bytes:
    start = _place(content, generator)
    piece = content[start : start + generator.choice((1, 8, 80, 2880))]
    return content[:start] + piece * generator.choice((2, 3)) + content[start + len(piece) :]


def overwritten(content: bytes, generator: random.Random) -> bytes:
    start = _place(content, generator)
    n_bytes = generator.choice((4, 80, 500))
    piece = generator.choice((b"\0", b"\xff", b" ", b"9", b"[", b"'")) * n_bytes
    return content[:start] + piece + content[start + n_bytes :]


def with_a_tail(content: bytes, generator: random.Random) -> bytes:
    return content + generator.choice((b"\0" * BLOCK, b"XTENSION", b"\xff\xfe", b"\n" * 50, b"{"))


_ANYTHING: Sequence[Mutation] = (
    other_bytes,
    other_bit,
    cut,
    cut_at_block,
    left_out,
    said_twice,
    overwritten,
    with_a_tail,
)


# --- FITS -------------------------------------------------------------------------------------

COUNTS = (
    *(0, 1, -1, 2, 3, 7, 255, 999, 1000, 32768, 10**6, 2**31 - 1, 2**31, 2**32, 2**63, 10**30),
)
WORDS = (
    *("T", "F", "'text'", "''", "'", "", "NaN", "1E400", "-1E308", "1.0E-320", "0.0", "-0.0"),
    *("(1, 2)", "'\u00e4'", "1 2", "0x10", "'  /'", "'&'", "inf", "1D5", "'NaN'", "'a''b'"),
)
STRUCTURE = (
    "NAXIS",
    "BITPIX",
    "PCOUNT",
    "GCOUNT",
    "TFIELDS",
    "THEAP",
    "TFORM",
    "TTYPE",
    "XTENSION",
)
ADDED = (
    *("BSCALE  = 0.0", "BZERO   = 'x'", "BLANK   = 0", "TNULL1  = 1", "TNULL2  = 'a'"),
    *("TSCAL1  = 0.0", "TZERO1  = NaN", "TDIM1   = '(9999,9999)'", "TUNIT1  = '%%'", "GROUPS  = T"),
    *("ZIMAGE  = T", "ZCMPTYPE= 'GZIP_1'", "ZNAXIS1 = 100000", "INHERIT = T", "CONTINUE  'x&'"),
    *("SIMPLE  = T", "NAXIS1  = 100000", "HIERARCH a b c = 1", "EXTNAME = 'SCI'", "END"),
    *("CHECKSUM= 'x'", "LONGSTRN= 'OGIP 1.0'", "CALREGID= 'x'", "CALREGO1= 'PHOTMJSR=  1'"),
)


def _headers(content: bytes) -> list[tuple[int, int]]:
    """Return where headers begin and where their END card does; also for sizes that are wrong."""
    found = []
    for matched in re.finditer(rb"SIMPLE  =|XTENSION=", content):
        start = matched.start()
        if start % CARD:
            continue
        end = start
        while end < len(content) and content[end : end + 8] != b"END     ":
            end += CARD
        found.append((start, end))
    return found


def _cards(content: bytes, generator: random.Random) -> tuple[int, int, list[bytes]]:
    """Return a header's place, the end of its blocks, and its cards without END."""
    headers = _headers(content)
    if not headers:
        return 0, 0, []
    start, end = generator.choice(headers)
    cards = [content[i : i + CARD] for i in range(start, end, CARD)]
    return start, start + -(-(end + CARD - start) // BLOCK) * BLOCK, cards


def _joined(content: bytes, start: int, end: int, cards: list[bytes]) -> bytes:
    """Return the file with a header of other cards."""
    header = b"".join(card[:CARD].ljust(CARD) for card in [*cards, b"END"])
    padded = header.ljust(-(-len(header) // BLOCK) * BLOCK)
    return content[:start] + padded + content[end:]


def card_removed(content: bytes, generator: random.Random) -> bytes:
    start, end, cards = _cards(content, generator)
    if cards:
        del cards[generator.randrange(len(cards))]
    return _joined(content, start, end, cards) if cards else content


def card_repeated(content: bytes, generator: random.Random) -> bytes:
    start, end, cards = _cards(content, generator)
    if not cards:
        return content
    cards.insert(generator.randrange(len(cards) + 1), generator.choice(cards))
    return _joined(content, start, end, cards)


def cards_exchanged(content: bytes, generator: random.Random) -> bytes:
    start, end, cards = _cards(content, generator)
    if not cards:
        return content
    one, other = generator.randrange(len(cards)), generator.randrange(len(cards))
    cards[one], cards[other] = cards[other], cards[one]
    return _joined(content, start, end, cards)


def card_blanked(content: bytes, generator: random.Random) -> bytes:
    start, end, cards = _cards(content, generator)
    if not cards:
        return content
    number = generator.randrange(len(cards))
    cards[number] = generator.choice((b"", cards[number][:10]))
    return _joined(content, start, end, cards)


def _with_value(card: bytes, value: str) -> bytes:
    """Return a card with another value, as bytes that need not be ASCII."""
    return card[:8] + b"= " + value.encode("latin-1").rjust(20) + b" / changed"


def card_of_another_value(content: bytes, generator: random.Random) -> bytes:
    start, end, cards = _cards(content, generator)
    if not cards:
        return content
    number = generator.randrange(len(cards))
    cards[number] = _with_value(cards[number], str(generator.choice((*COUNTS, *WORDS))))
    return _joined(content, start, end, cards)


def count_of_another_value(content: bytes, generator: random.Random) -> bytes:
    """Change a card that says how much there is."""
    start, end, cards = _cards(content, generator)
    numbers = [
        number
        for number, card in enumerate(cards)
        if card.startswith(tuple(word.encode() for word in STRUCTURE))
    ]
    if not numbers:
        return content
    number = generator.choice(numbers)
    if cards[number].startswith((b"TFORM", b"TTYPE", b"XTENSION")):
        value = generator.choice(
            ("'0E'", "'1PE(9)'", "'99999E'", "'1QB'", "'X'", "'1Z'", "'A'", "''", "'64L'", "'1C'")
        )
    else:
        value = str(generator.choice(COUNTS))
    cards[number] = _with_value(cards[number], value)
    return _joined(content, start, end, cards)


def card_added(content: bytes, generator: random.Random) -> bytes:
    start, end, cards = _cards(content, generator)
    if not cards:
        return content
    place = generator.randrange(max(1, len(cards) - 8), len(cards) + 1)
    cards.insert(place, generator.choice(ADDED).encode("ascii"))
    return _joined(content, start, end, cards)


def numbers_of_another_kind(content: bytes, generator: random.Random) -> bytes:
    """Write NaN, infinities, zeros or nulls into the data behind a header."""
    _, end, cards = _cards(content, generator)
    if not cards or end >= len(content):
        return content
    pattern = generator.choice(
        (
            *(b"\x7f\xc0\0\0", b"\x7f\xf8\0\0\0\0\0\0", b"\x7f\x80\0\0", b"\xff\xf0\0\0\0\0\0\0"),
            *(b"\0\0\0\0", b"\x80\0\0\0", b"\xff\xff\xff\xff", b"\x7f\x7f\xff\xff"),
        )
    )
    start = end + generator.randrange(min(len(content) - end, 4096)) // 8 * 8
    n_bytes = generator.choice((8, 400, 8000))
    piece = (pattern * n_bytes)[: min(n_bytes, len(content) - start)]
    return content[:start] + piece + content[start + len(piece) :]


def unit_removed(content: bytes, generator: random.Random) -> bytes:
    """Leave an extension out, or say it twice."""
    starts = [start for start, _ in _headers(content)] + [len(content)]
    if len(starts) < 3:
        return content
    number = generator.randrange(1, len(starts) - 1)
    piece = content[starts[number] : starts[number + 1]]
    repeated = b"" if generator.random() < 0.6 else piece * 2
    return content[: starts[number]] + repeated + content[starts[number + 1] :]


# --- text -------------------------------------------------------------------------------------

_TOKEN = re.compile(rb"[^\s,;:<>\"'=\[\](){}]+")
TOKENS = (
    *(
        b"nan",
        b"NaN",
        b"inf",
        b"-inf",
        b"1e400",
        b"-1e308",
        b"1e-320",
        b"",
        b"--",
        b"null",
        b"None",
    ),
    *(
        b"N/A",
        b"0",
        b"-0.0",
        b"-1",
        b"0.0",
        b"99999999999999999999",
        b"0x10",
        b"1_0",
        b"1,5",
        b"\0",
    ),
    *(b"\xff\xfe", "\uff11".encode(), "\u00e4".encode("latin-1"), b"'", b'"', b"[", b"{", b"999"),
    *(
        b"mJy",
        b"Jy",
        b"mag",
        b"deg",
        b"hourangle",
        b"MJy / sr",
        b"mJy/arcsec2",
        b"string",
        b"object",
    ),
    *(b"True", b"1" * 5000, b"&x;", b"*a", b"!!python/name:os.system", b"1:2:3", b"2022-99-99"),
    *(
        b"../../x",
        b"/dev/null",
        b"jwst_9999.pmap",
        b"jwst_-1.pmap",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
    ),
)


def token_replaced(content: bytes, generator: random.Random) -> bytes:
    tokens = list(_TOKEN.finditer(content))
    if not tokens:
        return content
    one = generator.choice(tokens)
    return content[: one.start()] + generator.choice(TOKENS) + content[one.end() :]


def tokens_exchanged(content: bytes, generator: random.Random) -> bytes:
    tokens = list(_TOKEN.finditer(content))
    if not tokens:
        return content
    one, other = generator.choice(tokens), generator.choice(tokens)
    return content[: one.start()] + other.group() + content[one.end() :]


def line_removed(content: bytes, generator: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if lines:
        del lines[generator.randrange(len(lines))]
    return b"".join(lines)


def line_repeated(content: bytes, generator: random.Random) -> bytes:
    lines = content.splitlines(keepends=True) or [b""]
    number = generator.randrange(len(lines))
    lines[number] *= generator.choice((2, 2, 2, 5000))
    return b"".join(lines)


def lines_exchanged(content: bytes, generator: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    one, other = generator.randrange(len(lines)), generator.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"".join(lines)


def other_line_ends(content: bytes, generator: random.Random) -> bytes:
    return content.replace(b"\n", generator.choice((b"\r\n", b"\r", b"\n\n", b"\0", b"\x0c")))


def other_delimiter(content: bytes, generator: random.Random) -> bytes:
    one, other = generator.sample((b",", b" ", b"\t", b";", b"|", b":", b"="), 2)
    return content.replace(one, other)


def other_coding(content: bytes, generator: random.Random) -> bytes:
    text = content.decode("latin-1")
    return generator.choice(
        (text.encode("utf-16"), b"\xef\xbb\xbf" + content, text.encode("utf-7"))
    )


def nested(content: bytes, generator: random.Random) -> bytes:
    """Open very many brackets where a value stands."""
    tokens = list(_TOKEN.finditer(content))
    place = generator.choice(tokens).start() if tokens else 0
    piece = generator.choice((b"[", b"{", b"(", b"- ", b"{a: ", b"-", b"*"))
    return content[:place] + piece * generator.choice((50, 3000, 60000)) + content[place:]


def aliases(content: bytes, generator: random.Random) -> bytes:
    """Begin with YAML whose aliases stand for 9**12 nodes, as text or as ECSV's comments."""
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 12)]
    if content.startswith(b"# %ECSV"):
        head, _, rest = content.partition(b"\n# ---\n")
        return head + b"\n# ---\n" + b"".join(b"# " + line + b"\n" for line in lines) + rest
    place = generator.choice((0, len(content)))
    return content[:place] + b"\n".join(lines) + b"\n" + content[place:]


# --- XML --------------------------------------------------------------------------------------


def entities(content: bytes, generator: random.Random) -> bytes:
    """Define entities that stand for up to 10**9 letters, and name the last one."""
    last = generator.choice((2, 9))
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, last + 1))
    doctype = f'<!DOCTYPE VOTABLE [<!ENTITY e0 "lol">{levels}]>'.encode()
    changed = re.sub(rb"<TD>[^<]*", b"<TD>&e%d;" % last, content, count=1)
    place = changed.find(b"<VOTABLE")
    return changed[:place] + doctype + changed[place:] if place >= 0 else content


def attribute_replaced(content: bytes, generator: random.Random) -> bytes:
    attributes = list(re.finditer(rb'="[^"]*"', content))
    if not attributes:
        return content
    one = generator.choice(attributes)
    value = generator.choice(
        (
            *(
                b"",
                b"*",
                b"99999999999",
                b"-1",
                b"char",
                b"unicodeChar",
                b"bit",
                b"float",
                b"double",
            ),
            *(b"2x*", b"0", b"gzip", b"base64", b"file:///etc/passwd", b"http://localhost:1/x"),
        )
    )
    return content[: one.start()] + b'="' + value + b'"' + content[one.end() :]


def elements_nested(content: bytes, generator: random.Random) -> bytes:
    place = content.find(b"<TABLE")
    piece = generator.choice((b"<RESOURCE>", b"<GROUP>", b"<x>"))
    return content[:place] + piece * generator.choice((100, 30000)) + content[place:]


# --- Parquet ----------------------------------------------------------------------------------


def footer_changed(content: bytes, generator: random.Random) -> bytes:
    """Change bytes of the metadata at a Parquet file's end."""
    if len(content) < 12:
        return content
    length = min(int.from_bytes(content[-8:-4], "little"), len(content) - 12)
    changed = bytearray(content)
    for _ in range(generator.choice((1, 2, 4))):
        place = len(content) - 8 - generator.randrange(max(1, length))
        changed[place] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
    return bytes(changed)


def footer_counts(content: bytes, generator: random.Random) -> bytes:
    """Replace a small number of the metadata (the rows, most often) by a huge one."""
    if len(content) < 12:
        return content
    length = min(int.from_bytes(content[-8:-4], "little"), len(content) - 12)
    start = len(content) - 8 - length
    footer = content[start:-8]
    places = [place for place, byte in enumerate(footer) if byte == generator.choice((8, 16, 40))]
    if not places:
        return content
    place = generator.choice(places)
    number = 2 * generator.choice((0, 10**8, 2**31, 2**62)) + generator.choice((0, 1))
    varint = bytearray()
    while number > 0x7F:
        varint.append(number & 0x7F | 0x80)
        number >>= 7
    varint.append(number)
    changed = footer[:place] + bytes(varint) + footer[place + 1 :]
    return content[:start] + changed + len(changed).to_bytes(4, "little") + content[-4:]


_TEXT: Sequence[Mutation] = (
    *(token_replaced, token_replaced, token_replaced, tokens_exchanged, line_removed),
    *(line_repeated, lines_exchanged, other_line_ends, other_delimiter, other_coding, nested),
)

_BY_FORM: dict[str, Sequence[Mutation]] = {
    "fits": (
        *(card_removed, card_repeated, cards_exchanged, card_blanked, card_of_another_value),
        *(card_of_another_value, count_of_another_value, count_of_another_value, card_added),
        *(numbers_of_another_kind, numbers_of_another_kind, unit_removed),
    ),
    "text": _TEXT,
    "yaml": (*_TEXT, aliases),
    "xml": (*_TEXT, entities, attribute_replaced, attribute_replaced, elements_nested),
    "parquet": (*_ANYTHING, footer_changed, footer_changed, footer_counts, footer_counts),
}
