"""The README's code blocks, and whether what a command prints is what the README shows under it."""

import json
import re

# A fence at the start of a line. It may have a file's name in a comment on the line before: <!-- file: quick.py -->
FENCE = re.compile(r"^(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)


def value_of(name):
    """The form of a value of this name in JSON, with a space before it or without."""
    return rf'(?:(?<="{name}": ")|(?<="{name}":"))[\w-]+(?=")'


# What differs from run to run, each by its form.
VOLATILE = [
    ("uuid", re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")),
    ("time", re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")),
    ("cursor", re.compile(value_of("cursor") + r"|(?<=cursor )\s*[\w-]{20,}")),
    ("token", re.compile(value_of("nextPageToken"))),
    ("epoch", re.compile(value_of("epoch") + r"|(?<=epoch )\s*[\w-]+")),
]


class Block:
    def __init__(self, language, text, file, section, line):
        self.language, self.text, self.file, self.section, self.line = language, text, file, section, line
        self.output = None


def blocks(path):
    """All blocks in order. A `text` or `json` block right after a command's is taken as its output."""
    source, found, end, section = path.read_text(), [], 0, ""
    for fence in FENCE.finditer(source):
        # Looked for between blocks only, since a comment in a program begins as a heading does.
        for heading in HEADING.finditer(source, end, fence.start()):
            section = heading["text"]
        line = source.count("\n", 0, fence.start("text"))
        block = Block(fence["language"], fence["text"], fence["file"], section, line)
        between = source[end:fence.start()]
        if found and found[-1].language == "sh" and block.language in ("json", "text") and not between.strip():
            found[-1].output = block.text
        else:
            found.append(block)
        end = fence.end()
    return found


def same(expected, seen):
    """Whether a command printed what the README says, whatever the ids, times, cursors and epochs."""
    return stable(expected) == stable(seen)


def stable(text):
    """The text with what differs from run to run replaced, and JSON in one spelling, as grpcurl's order of fields varies.

    The same id, cursor or epoch becomes the same word, so that what must be equal still must be. Times may coincide.
    """
    for name, form in VOLATILE:
        seen = {}
        text = form.sub(
            lambda found: f"<{name} {0 if name == 'time' else seen.setdefault(found[0].strip(), len(seen))}>", text)
    text = "\n".join(" ".join(line.split()) for line in text.strip().splitlines())
    decoder, values, rest = json.JSONDecoder(), [], text
    try:
        while rest:
            value, end = decoder.raw_decode(rest)
            values.append(json.dumps(value, sort_keys=True))
            rest = rest[end:].lstrip()
    except ValueError:
        return text
    return "\n".join(values)
