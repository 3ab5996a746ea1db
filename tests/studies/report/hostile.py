"""Texts that try to be more than text, one of each kind or more."""

XSS = [
    "<script>alert(1)</script>", "<ScRiPt src=//evil.example/x.js></sCrIpT>", "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "<svg><script>alert(1)</script></svg>",
    "<body onload=alert(1)>", "<iframe src=javascript:alert(1)>", "<iframe srcdoc='<script>alert(1)</script>'>",
    "<a href='javascript:alert(1)'>x</a>", "<a href=http://evil.example>x</a>", "javascript:alert(1)",
    "\" onmouseover=\"alert(1)", "' onfocus='alert(1)' autofocus='", "\"><script>alert(1)</script>",
    "'><img src=x onerror=alert(1)>", "</title><script>alert(1)</script>", "</style><script>alert(1)</script>",
    "</svg><script>alert(1)</script>", "</td></tr></table><h1>owned</h1>", "</pre><b>out</b>", "--><script>x</script>",
    "<!-- comment", "<![CDATA[<script>alert(1)</script>]]>", "<style>*{display:none}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>", "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<base href=//evil.example>", "<object data=//evil.example>", "<embed src=//evil.example>",
    "<math><mi>x</mi></math>",
    "<form action=//evil.example><input>", "<video><source onerror=alert(1)>", "<details open ontoggle=alert(1)>",
    "<template><script>alert(1)</script></template>", "&lt;script&gt;alert(1)&lt;/script&gt;", "&#x3c;script&#x3e;",
    "<\x00script>alert(1)</script>", "＜script＞alert(1)＜/script＞", "url(//evil.example/x)",
    "expression(alert(1))", "data:text/html,<script>alert(1)</script>", "<x style=background:url(//evil.example)>",
]  # fmt: skip
TEMPLATES = [
    "{{ 7 * 7 }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{{ config }}",
    "${7*7}",
    "#{7*7}",
    "%(message)s",
    "{0.__class__}",
    "<%= 7 * 7 %>",
]
SIGNS = [
    "\u202egnp.exe", "a\u2066b\u2069", "\u200e\u200f", "zero\u200bwidth", "\ufeffbom", "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07", "\x9b2J", "\x00null", "back\x08space", "bell\x07", "\ud800lone", "a\udfffb",
    "line\u2028separator", "nel\x85", "carriage\rreturn", "line\nfeed", "tab\tstop", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L", "👩‍👩‍👧", "中文标签",
    "עברית", "𝕏", "ﷺ",
]  # fmt: skip
TEX = [
    "\\input{/etc/passwd}", "\\write18{touch owned}", "\\immediate\\write18{id}", "\\end{tabular}", "\\def\\x{\\x}\\x",
    "$x^2$", "$", "$$", "100%", "a & b", "a_b^c", "#1", "~", "\\", "\\\\", "{", "}", "^^5cinput{x}", "\\newpage",
    "a\\", "[2em]", "* x", "$\\frac{1}{0", "\\verb|x|", "\\catcode`\\%=12",
]  # fmt: skip
SHEETS = [
    "=1+1", "=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", "=HYPERLINK(\"http://evil.example\")", "\t=1+1", "\r=1",
    "x;=1+1", "x,=1+1", "\"=1+1", "＝1+1",
]  # fmt: skip
MARKDOWN = [
    "[x](javascript:alert(1))", "![x](http://evil.example/x.png)", "**bold** _it_ `code`", "# heading", "- item",
    "1. item", "a|b|c", "|---|", "<b>html</b>", "http://evil.example/x", "www.evil.example", "me@evil.example",
    "```\nfence", "[ref]: http://evil.example", "> quote", "---", "<http://evil.example>", "- [ ] task",
]  # fmt: skip
OTHERS = [
    "!!python/object/apply:os.system ['id']", "a: b\n- c", "../../../etc/passwd", "", " ", "a" * 10_000, "ä" * 5_000,
    "null", "NaN", "__proto__", "'; DROP TABLE cells; --", "%s%s%n", "|rm -rf", "`id`", "$(id)",
]  # fmt: skip
HOSTILE = [*XSS, *TEMPLATES, *SIGNS, *TEX, *SHEETS, *MARKDOWN, *OTHERS]
