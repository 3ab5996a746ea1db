"""The table as LaTeX, in plain ASCII that pdflatex takes without a package but booktabs."""

import re
import unicodedata

from ..analysis.analysis import Analysis
from .cleaned import one_line
from .main_table import MainTable

LONGEST, SENTENCES = 100, 2000
GREEK = [
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
    *("xi", "mathrm{o}", "pi", "rho", "varsigma", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega"),
]
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': "''", "`": r"{`}", "'": "{'}", "[": "{[}", "]": "{]}", "*": "{*}", "-": "-{}", "?": "?{}",
    "!": "!{}", ",": ",{}",
    "–": "--", "—": "---", "−": "$-$", "±": r"$\pm$", "×": r"$\times$", "÷": r"$\div$", "·": r"$\cdot$", "†": r"\dag{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "→": r"$\to$", "←": r"$\leftarrow$", "≤": r"$\le$", "≥": r"$\ge$",
    "≈": r"$\approx$", "…": r"\ldots{}", "‘": "`", "’": "'", "“": "``", "”": "''", "§": r"\S{}", "©": r"\copyright{}",
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "å": r"\aa{}", "Å": r"\AA{}", "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "µ": r"$\mu$", "°": r"$^\circ$",
    "²": "$^2$", "³": "$^3$", "∞": r"$\infty$", "Δ": r"$\Delta$", "Σ": r"$\Sigma$", "Ω": r"$\Omega$",
    **{chr(code): rf"$\{name}$" for code, name in zip(range(0x3B1, 0x3CA), GREEK, strict=True)},
}  # fmt: skip
ACCENTS = {"̀": "`", "́": "'", "̂": "^", "̃": "~", "̈": '"', "̌": "v", "̧": "c",
           "̄": "=", "̆": "u", "̇": ".", "̋": "H", "̊": "r"}  # fmt: skip
FOREIGN = re.compile(r"(?:\x00[0-9A-F]+\x00)+")


def in_tex(text: str, longest: int = LONGEST) -> str:
    """Text that LaTeX prints as it is; what pdflatex has no sign for is named, ``[U+4E2D]``.

    No order survives: a backslash is printed as one. What is longer than ``longest`` ends in an ellipsis.
    """
    text = one_line(text)
    text = text if len(text) <= longest else f"{text[:longest]}…"
    written = "".join(map(_sign, unicodedata.normalize("NFC", text)))
    return FOREIGN.sub(lambda found: f"{{[}}{' '.join(f'U+{c}' for c in found[0].split(chr(0)) if c)}{{]}}", written)


def as_tex(analysis: Analysis, table: MainTable) -> str:
    """A ``table`` environment with horizontal rules only."""
    places = [i for i, column in enumerate(table.columns) if column.printed]
    shape = "".join("l" if table.columns[i].text else "r" for i in places)
    heads = " & ".join(in_tex(table.columns[i].title) for i in places)
    notes = " ".join(in_tex(note, SENTENCES) for note in table.notes)
    lines = [
        "% Needs \\usepackage{booktabs}.",
        r"\begin{table}",
        r"\centering",
        r"\small",
        rf"\caption{{{in_tex(analysis.question, SENTENCES)} {notes}}}",
        rf"\begin{{tabular}}{{@{{}}{shape}@{{}}}}",
        r"\toprule",
        rf"{heads} \\",
        r"\midrule",
    ]
    for row in table.rows:
        cells = [in_tex(row.cells[i]) for i in places]
        marked = [rf"\textbf{{{cell}}}" if row.bold and i in (0, row.strong) else cell
                  for i, cell in zip(places, cells, strict=True)]  # fmt: skip
        lines.append(rf"{' & '.join(marked)} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""])


def _sign(char: str) -> str:
    if char in SPECIAL:
        return SPECIAL[char]
    if char.isascii():
        return char
    base, *marks = unicodedata.normalize("NFD", char)
    if len(marks) == 1 and marks[0] in ACCENTS and base.isascii() and base.isalpha():
        letter = {"i": r"\i", "j": r"\j"}.get(base, base) if ACCENTS[marks[0]] not in ("c",) else base
        return rf"\{ACCENTS[marks[0]]}{{{letter}}}"
    return f"\0{ord(char):04X}\0"
