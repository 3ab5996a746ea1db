"""The table behind ``StdlibDocs``: which area of the standard library a module belongs to.

Areas follow the chapters of the library reference (https://docs.python.org/3/library/), with small neighbouring
chapters joined so that each area has some hundred docstrings. A package's entry holds for all of its modules. Modules
of any Python from 3.11 on may stand here, whether the running one has them or not; a module that is not in the table
is left out and counted. Left out on purpose: what newer Pythons no longer have in any number (distutils, lib2to3 and
the rest of packaging), idlelib, which is an application, and encodings, a hundred generated files with the same line.
"""

AREAS: dict[str, str] = {
    # Text Processing Services; Internationalization; Structured Markup Processing Tools
    "text and markup": "string re sre_compile sre_constants sre_parse difflib textwrap stringprep rlcompleter codecs "
    "gettext locale _strptime html xml _markupbase",
    # Data Types; Numeric and Mathematical Modules; Functional Programming Modules
    "data types and numbers": "datetime _pydatetime zoneinfo calendar collections _collections_abc heapq bisect "
    "weakref _weakrefset types copy pprint reprlib enum graphlib numbers decimal _pydecimal fractions random "
    "statistics functools operator colorsys hashlib hmac secrets uuid",
    # File and Directory Access; Data Persistence; Data Compression and Archiving; File Formats
    "files and storage": "pathlib posixpath ntpath genericpath fileinput stat filecmp tempfile glob fnmatch linecache "
    "shutil pickle pickletools copyreg shelve dbm sqlite3 gzip bz2 lzma _compression compression zipfile tarfile csv "
    "configparser tomllib netrc plistlib xdrlib _pyio io aifc sunau wave chunk sndhdr imghdr",
    # Generic Operating System Services; Unix and Windows Services; command lines
    "operating system and command line": "os argparse optparse getopt logging getpass curses platform ctypes cmd shlex "
    "pty tty pipes crypt nturl2path _aix_support _osx_support",
    # Concurrent Execution; Networking and Interprocess Communication (event loops)
    "concurrency": "threading _threading_local multiprocessing concurrent subprocess sched queue contextvars asyncio "
    "asyncore asynchat selectors signal",
    # Internet Protocols and Support
    "internet protocols": "webbrowser wsgiref urllib http ftplib poplib imaplib smtplib smtpd nntplib telnetlib "
    "socketserver socket ssl xmlrpc ipaddress cgi cgitb",
    # Internet Data Handling
    "internet data": "email json mailbox mailcap mimetypes base64 quopri uu binhex",
    # Graphical User Interfaces with Tk; Program Frameworks
    "graphical interfaces": "tkinter turtle turtledemo",
    # Development Tools; Debugging and Profiling
    "testing and debugging": "unittest doctest pydoc bdb pdb profile cProfile pstats timeit trace tracemalloc "
    "profiling",
    # Python Runtime Services; Custom Python Interpreters; Importing Modules; Python Language Services
    "language and runtime": "abc _py_abc traceback inspect site contextlib dataclasses annotationlib warnings "
    "_py_warnings __future__ typing code codeop _pyrepl importlib pkgutil modulefinder runpy zipimport imp ast "
    "_ast_unparse symtable token tokenize keyword dis opcode _opcode_metadata tabnanny pyclbr py_compile compileall "
    "sysconfig _sitebuiltins",
}
"""Area -> modules and packages, separated by spaces."""

AREA_OF: dict[str, str] = {module: area for area, modules in AREAS.items() for module in modules.split()}
"""Module or package -> area."""


def area_of(module: str) -> str | None:
    """The area of a dotted module name, by its longest listed parent."""
    while module:
        if module in AREA_OF:
            return AREA_OF[module]
        module = module.rpartition(".")[0]
    return None
